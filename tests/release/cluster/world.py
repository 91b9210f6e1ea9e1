"""What stands for the gateway and the Prometheus of a cluster whose pods are names without processes.

A gateway that accepts routes, and a Prometheus that counts what a gateway would have sent to each pod: at the seams
where the controller meets others' servers.
"""

import json
import threading
import time
import uuid
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from release.cluster.apps import App
from release.cluster.place import Cluster, Object

from torchfinch.release.cluster.api import Api, ApiError
from torchfinch.release.cluster.kinds import HTTP_ROUTES

NAMES = ("ts_inference_requests_total", "Requests5XX", "torchfinch_stage_seconds_sum", "torchfinch_stage_seconds_count")


class World:
    """The gateway and the Prometheus of some apps: it accepts routes, sends 200 requests a turn, counts them by pod."""

    def __init__(self, kubeconfig: Path) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("KUBECONFIG", str(kubeconfig))
            self.api = Api()
        self._kubeconfig = kubeconfig
        self._ended = threading.Event()
        self.apps: list[App] = []
        self.counted: dict[str, list[float]] = {}
        self.error_rate: dict[str, float] = {}
        self.seconds: dict[str, float] = {}
        """Mean latency of the pods whose name has this word; 20 ms elsewhere."""
        self.refused: dict[str, str] = {}
        """By namespace: why the gateway does not accept the route."""
        self.silent: set[str] = set()
        """Tracks that get no requests."""
        self.answers = True
        self.old: dict[str, Object] | None = None
        """What Prometheus knew, by query, while it reads no pod any more; None while it reads them."""
        world = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlparse(self.path).query)["query"][0]
                self.send_response(200 if world.answers else 503)
                self.end_headers()
                self.wfile.write(json.dumps(world.answer(query)).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.evidence = {"kind": "Prometheus", "address": f"http://127.0.0.1:{self._server.server_port}"}
        self._threads = [threading.Thread(target=work) for work in (self._server.serve_forever, self._serve)]
        for thread in self._threads:
            thread.start()

    def join(self, cluster: Cluster) -> None:
        """Serve the app of a namespace, whose release measures here from now on."""
        app = App(cluster, self.api)
        app.spec(evidence=self.evidence)
        self.apps.append(app)

    def answer(self, query: str) -> Object:
        new = self._counters(query)
        return new if self.old is None else self.old.setdefault(query, new)

    def close(self) -> None:
        self._ended.set()
        self._server.shutdown()
        for thread in self._threads:
            thread.join()
        self._server.server_close()

    def _counters(self, query: str) -> Object:
        pods = {pod: counts for pod, counts in list(self.counted.items()) if pod in query}
        if query.startswith("timestamp"):
            samples = [({"pod": pod}, time.time()) for pod in pods]
        else:
            samples = [
                ({"__name__": name, "pod": pod, "stage": "total"}, value)
                for pod, (requests, errors) in pods.items()
                for name, value in zip(NAMES, (requests, errors, requests * self._latency(pod), requests), strict=True)
            ]
        found = [{"metric": metric, "value": [time.time(), str(value)]} for metric, value in samples]
        return {"status": "success", "data": {"result": found}}

    def _latency(self, pod: str) -> float:
        return next((seconds for word, seconds in self.seconds.items() if word in pod), 0.02)

    def _serve(self) -> None:
        while not self._ended.wait(0.1):
            for app in list(self.apps):
                with suppress(ApiError):  # the API server is away, or the namespace has gone
                    self._accept(app)
                    self._send(app)

    def _accept(self, app: App) -> None:
        route = app.get(HTTP_ROUTES)
        held = {"status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        newest = {**held, "observedGeneration": route["metadata"]["generation"]}
        if app.namespace in self.refused:
            newest |= {"status": "False", "reason": "NotAllowed", "message": self.refused[app.namespace]}
        conditions = [{"type": kind, **newest} for kind in ("Accepted", "ResolvedRefs")]
        parents = [{"parentRef": {"name": "gw"}, "controllerName": "a.test/gateway", "conditions": conditions}]
        if route.get("status") != {"parents": parents}:
            self.api.merge(HTTP_ROUTES.path(app.namespace, "digits", "status"), {"status": {"parents": parents}})

    def _send(self, app: App) -> None:
        weights = app.weights
        pods = [pod for pod in app.pods if pod["status"].get("phase") == "Running"]
        for track, weight in zip(app.tracks, weights, strict=False):  # a route may have lost one
            behind = [pod for pod in pods if pod["metadata"]["labels"]["track"] == track]
            for pod in behind:
                counts = self.counted.setdefault(pod["metadata"]["name"], [0, 0])
                new = 0 if track in self.silent else 200 * weight // max(sum(weights), 1) // len(behind)
                counts[0] += new
                counts[1] += new * self.error_rate.get(pod["metadata"]["labels"]["app.kubernetes.io/version"], 0.0)


class Traffic(World):
    """That of many apps, which it makes and whose releases it deletes."""

    def __init__(self, kubeconfig: Path) -> None:
        self.namespaces: list[str] = []
        Cluster(kubeconfig, "default").know("istio", "virtualservices")
        super().__init__(kubeconfig)

    def app(self, *, route: str = "HTTPRoute", **spec: Any) -> App:
        """A release at rest in a namespace of its own."""
        app = App(Cluster(self._kubeconfig, f"app-{uuid.uuid4()}"), self.api, route=route)
        self.namespaces.append(app.namespace)
        app.create(**{"evidence": self.evidence, **spec})
        self.apps.append(app)
        return app

    def clear(self) -> None:
        for app in self.apps:
            app.cluster.run("delete", "canary", "digits", "--wait=false")
        self.apps.clear()

    def close(self) -> None:
        super().close()
        if self.namespaces:
            Cluster(self._kubeconfig, "default").run("delete", "namespace", *self.namespaces, "--wait=false")
