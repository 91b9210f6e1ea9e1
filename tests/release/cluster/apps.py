"""Releases in namespaces of their own, made and seen by the API itself, which is quicker than kubectl."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from release.cluster.place import Cluster, Object
from waiting import within

from torchfinch.release.cluster.api import Api
from torchfinch.release.cluster.kinds import DEPLOYMENTS, HTTP_ROUTES, RELEASES, VIRTUAL_SERVICES, Kind

PODS = Kind("Pod", "", "v1", "pods")
SERVICES = Kind("Service", "", "v1", "services")
NAMESPACES = Kind("Namespace", "", "v1", "namespaces")
TRACKS = ("stable", "canary")
ENDLESS = {"interval": "300ms", "minRequests": 100_000_000}
"""An analysis that no step passes."""
ROUTES = {"HTTPRoute": HTTP_ROUTES, "VirtualService": VIRTUAL_SERVICES}
_MADE = {kind.name: kind for kind in (DEPLOYMENTS, SERVICES, HTTP_ROUTES, VIRTUAL_SERVICES, RELEASES)}
_BACKENDS = [{"destination": {"host": f"digits-{track}"}, "weight": 100 * (track == "stable")} for track in TRACKS]
_VIRTUAL_SERVICE: Object = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "digits"},
    "spec": {"hosts": ["digits"], "http": [{"route": _BACKENDS}]},
}


def backends(spec: Object) -> list[Object]:
    """Those of a route's first rule."""
    return list(spec["rules"][0]["backendRefs"] if "rules" in spec else spec["http"][0]["route"])


def beside(documents: list[Object]) -> list[Object]:
    """The baseline's Deployment and Service; its backend is added to the routes."""
    for each in documents:
        if each["kind"] in ROUTES:
            found = backends(each["spec"])
            more = json.loads(json.dumps(found[1]).replace("canary", "baseline"))
            rule = each["spec"].get("rules", each["spec"].get("http"))[0]
            rule["backendRefs" if "rules" in each["spec"] else "route"] = [*found, more]
    texts = [json.dumps(each) for each in documents if each["metadata"]["name"] == "digits-canary"]
    return [json.loads(text.replace("canary", "baseline")) for text in texts]


class App:
    """What `app.yaml` says, in a namespace of its own: both Deployments, Services, a route, and a release at rest.

    With a baseline a third Deployment, Service and backend.
    """

    def __init__(self, cluster: Cluster, api: Api, *, route: str = "HTTPRoute") -> None:
        self.cluster, self.api, self.route, self.namespace = cluster, api, route, cluster.namespace
        self.tracks: tuple[str, ...] = TRACKS

    def create(self, **spec: Any) -> None:
        """Make all of it; `spec` is the release's."""
        self.api.create(NAMESPACES.path(None), {"metadata": {"name": self.namespace}})
        *documents, release = yaml.safe_load_all((Path(__file__).parent / "app.yaml").read_text())
        named = {"kind": self.route, "name": "digits"} if self.route in ROUTES else {"kind": self.route}
        release["spec"] |= {"route": named, **spec}
        documents += [deepcopy(_VIRTUAL_SERVICE)] if self.route == "VirtualService" else []
        if "baseline" in spec:
            self.tracks = (*TRACKS, "baseline")
            documents += beside(documents)
        for each in (*documents, release):
            self.make(each)

    def make(self, found: Object) -> None:
        self.api.create(_MADE[found["kind"]].path(self.namespace), found)

    def get(self, kind: Kind, name: str = "digits") -> Object:
        return self.api.get(kind.path(self.namespace, name))

    def merge(self, kind: Kind, change: Object, name: str = "digits") -> None:
        self.api.merge(kind.path(self.namespace, name), change)

    def offer(self, version: str, *, starts: bool = True, **more: int) -> None:
        """What `kubectl set image` does, with the version's label; one that does not start finds no node."""
        pod = {
            "containers": [{"name": "server", "image": f"digits:{version}"}],
            "nodeSelector": None if starts else {"there": "is-none"},
        }
        template = {"metadata": {"labels": {"app.kubernetes.io/version": version}}, "spec": pod}
        self.merge(DEPLOYMENTS, {"spec": {**more, "template": template}}, "digits-canary")

    def spec(self, **change: Any) -> None:
        self.merge(RELEASES, {"spec": change})

    @property
    def status(self) -> Object:
        return dict(self.get(RELEASES).get("status", {}))

    @property
    def version(self) -> str:
        """Of the canary, as the controller knows it."""
        return str(self.status.get("canary", {}).get("version"))

    @property
    def decided(self) -> list[str]:
        return [each["reason"] for each in self.status["decisions"]]

    @property
    def pods(self) -> list[Object]:
        return list(self.api.get(PODS.path(self.namespace))["items"])

    @property
    def replicas(self) -> list[int]:
        return [self.get(DEPLOYMENTS, f"digits-{track}")["spec"]["replicas"] for track in self.tracks]

    @property
    def weights(self) -> list[int]:
        """Of stable, canary and the baseline, if there is one; where there is no route, their pods."""
        if self.route not in ROUTES:
            return self.replicas
        return [backend.get("weight", 0) for backend in backends(self.get(ROUTES[self.route])["spec"])]

    def reach(self, weight: int) -> None:
        """Wait until the canary has this weight, and it counts."""
        assert within(60, lambda: self.status.get("weight") == weight and self.holds("RouteSynced")), self.status

    def holds(self, condition: str) -> bool:
        found = {each["type"]: each["status"] for each in self.status.get("conditions", [])}
        return found.get(condition) == "True"

    def begins(self, version: str) -> bool:
        """Whether this version has the first step's 25 %."""
        return self.version == version and self.weights == [75, 25]

    def wait(self, condition: str) -> None:
        assert within(60, lambda: self.holds(condition)), self.status


MakeApp = Callable[..., App]
