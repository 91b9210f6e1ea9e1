"""The kinds of objects that a release reads, and where the API server keeps them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A namespaced kind; `optional` where a cluster may not know it."""

    name: str
    group: str
    version: str
    plural: str
    optional: bool = False

    def path(self, namespace: str | None, name: str = "", *parts: str) -> str:
        """The path of an object, a collection (no name), or a collection over all namespaces (no namespace)."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        inside = ("namespaces", namespace) if namespace else ()
        return "/".join(part for part in (root, *inside, self.plural, name, *parts) if part)


RELEASES = Kind("CanaryRelease", "torchfinch.dev", "v1alpha1", "canaryreleases")
DEPLOYMENTS = Kind("Deployment", "apps", "v1", "deployments")
REPLICA_SETS = Kind("ReplicaSet", "apps", "v1", "replicasets")
SLICES = Kind("EndpointSlice", "discovery.k8s.io", "v1", "endpointslices")
HTTP_ROUTES = Kind("HTTPRoute", "gateway.networking.k8s.io", "v1", "httproutes", optional=True)
VIRTUAL_SERVICES = Kind("VirtualService", "networking.istio.io", "v1", "virtualservices", optional=True)
EVENTS = Kind("Event", "events.k8s.io", "v1", "events")
