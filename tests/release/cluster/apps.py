"""Many releases in namespaces of their own, and one stand-in for gateway and Prometheus."""

import json
import os
import subprocess
import uuid
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from release.cluster.place import BIN, Cluster, Controller, Object, World
from waiting import within

from torchfinch.release.cluster.api import Api, ApiError
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

    With `spec.baseline` a third Deployment, Service and backend.
    """

    def __init__(self, cluster: Cluster, api: Api, *, route: str = "HTTPRoute", **spec: Any) -> None:
        self.cluster, self.api, self.route, self.namespace = cluster, api, route, cluster.namespace
        api.create(NAMESPACES.path(None), {"metadata": {"name": self.namespace}})
        *documents, release = yaml.safe_load_all((Path(__file__).parent / "app.yaml").read_text())
        named = {"kind": route, "name": "digits"} if route in ROUTES else {"kind": route}
        release["spec"] |= {"route": named, **spec}
        documents += [deepcopy(_VIRTUAL_SERVICE)] if route == "VirtualService" else []
        self.tracks: tuple[str, ...] = TRACKS
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


class Traffic(World):
    """The gateway and the Prometheus of many apps, which it makes and whose releases it deletes."""

    def __init__(self, kubeconfig: Path) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("KUBECONFIG", str(kubeconfig))
            self.api = Api()
        self.apps: list[App] = []
        self.namespaces: list[str] = []
        self.refused: dict[str, str] = {}
        """By namespace: why the gateway does not accept the route."""
        self.silent: set[str] = set()
        """Tracks that get no requests."""
        cluster = Cluster(kubeconfig, "default")
        cluster.know("istio", "virtualservices")
        super().__init__(cluster)

    def app(self, **spec: Any) -> App:
        cluster = Cluster(self._cluster.kubeconfig, f"app-{uuid.uuid4()}")
        app = App(cluster, self.api, **{"evidence": {"kind": "Prometheus", "address": self.address}, **spec})
        self.apps.append(app)
        self.namespaces.append(app.namespace)
        return app

    def clear(self) -> None:
        for app in self.apps:
            app.cluster.run("delete", "canary", "digits", "--wait=false")
        self.apps.clear()

    def close(self) -> None:
        super().close()
        if self.namespaces:
            self._cluster.run("delete", "namespace", *self.namespaces, "--wait=false")

    def _serve(self) -> None:
        while not self._ended.wait(0.1):
            for app in list(self.apps):
                with suppress(ApiError):  # the API server is away, as some tests want it
                    self._accept_of(app)
                    self._send_to(app)

    def _accept_of(self, app: App) -> None:
        route = app.get(HTTP_ROUTES)
        held = {"status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        newest = {**held, "observedGeneration": route["metadata"]["generation"]}
        if app.namespace in self.refused:
            newest |= {"status": "False", "reason": "NotAllowed", "message": self.refused[app.namespace]}
        conditions = [{"type": kind, **newest} for kind in ("Accepted", "ResolvedRefs")]
        parents = [{"parentRef": {"name": "gw"}, "controllerName": "a.test/gateway", "conditions": conditions}]
        if route.get("status") != {"parents": parents}:
            self.api.merge(HTTP_ROUTES.path(app.namespace, "digits", "status"), {"status": {"parents": parents}})

    def _send_to(self, app: App) -> None:
        weights = app.weights
        pods = [pod for pod in app.pods if pod["status"].get("phase") == "Running"]
        for track, weight in zip(app.tracks, weights, strict=False):  # a route may have lost one
            behind = [pod for pod in pods if pod["metadata"]["labels"]["track"] == track]
            for pod in behind:
                counts = self.counted.setdefault(pod["metadata"]["name"], [0, 0])
                new = 0 if track in self.silent else 200 * weight // max(sum(weights), 1) // len(behind)
                counts[0] += new
                counts[1] += new * self.error_rate.get(pod["metadata"]["labels"]["app.kubernetes.io/version"], 0.0)


class Process(Controller):
    """`torchfinch controller` with these arguments, which may do whatever its kubeconfig may."""

    def __init__(self, kubeconfig: Path, log: Path, *arguments: str) -> None:
        self._arguments = arguments
        super().__init__(kubeconfig, log)

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(BIN / "torchfinch"), "controller", *self._arguments],
                env={**os.environ, "KUBECONFIG": str(self._kubeconfig)},
                stdout=log,
                stderr=log,
            )

    def lines(self) -> list[Object]:
        """What it wrote to stdout."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]


MakeApp = Callable[..., App]
