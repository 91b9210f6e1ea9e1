"""A namespace of a real API server as a user has it, and what stands for gateway and Prometheus there.

`TORCHFINCH_ENVTEST` names the folder of `cluster.py`, `KUBEBUILDER_ASSETS` that of the binaries. Pods are names without
processes here, so two things are stood for: a gateway that accepts routes, and a Prometheus that counts what a
gateway would have sent to each pod. Both are servers of their own, at the seams where the controller meets others'.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import yaml
from release.cluster.plane import skip, tools
from waiting import within

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
NAMED = os.environ.get("TORCHFINCH_KUBECONFIG")
"""The kubeconfig of a cluster of one's own, whose pods kwok makes ready."""
NAMES = ("ts_inference_requests_total", "Requests5XX", "torchfinch_stage_seconds_sum", "torchfinch_stage_seconds_count")
Object = dict[str, Any]


def kubectl_path() -> str:
    """That of the binaries, else the one on the PATH."""
    folders = filter(None, map(os.environ.get, ("KUBEBUILDER_ASSETS", "PATH")))
    return shutil.which("kubectl", path=os.pathsep.join(folders)) or skip("needs kubectl on the PATH")


class Cluster:
    """kubectl for one namespace, as a user has it."""

    named: Path | None = None
    """What `TORCHFINCH_KUBECONFIG` names, its current context alone."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.kubeconfig, self.namespace = kubeconfig, namespace
        self._kubectl = kubectl_path()

    @property
    def name(self) -> str:
        """What the kubeconfig calls the cluster."""
        return str(yaml.safe_load(self.kubeconfig.read_text())["clusters"][0]["name"])

    def run(self, *arguments: str, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        command = [self._kubectl, "--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"{arguments}\n{done.stderr}"
        return done.stdout

    def define(self) -> None:
        """The Gateway API's kinds and our own."""
        self.know("gateway-api", "httproutes")
        self("apply", "--server-side", "-k", str(ROOT / "k8s" / "crd"))
        established = ("wait", "crd/canaryreleases.torchfinch.dev", "--for=condition=Established", "--timeout=30s")
        assert within(30, lambda: self.run(*established).returncode == 0)  # it fails before there are conditions

    def know(self, folder: str, kind: str) -> None:
        """The definitions that come with the binaries; a cluster of one's own has them, or the test is skipped."""
        if self.kubeconfig != Cluster.named:
            self("apply", "--server-side", "-f", str(tools()[1] / "manifests" / folder))
            assert within(30, lambda: self.run("get", kind).returncode == 0)
        elif self.run("get", kind).returncode:
            skip(f"the cluster of TORCHFINCH_KUBECONFIG has no {kind}: apply the definitions of {folder}")

    def get(self, kind: str, name: str = "") -> Object:
        found: Object = json.loads(self("get", kind, *filter(None, [name]), "--output", "json"))
        return found

    def patch(self, kind: str, name: str, change: Object, *options: str) -> None:
        self("patch", kind, name, "--type", "merge", "--patch", json.dumps(change), *options)

    @property
    def weights(self) -> tuple[int, int]:
        stable, canary = self.get("httproute", "digits")["spec"]["rules"][0]["backendRefs"]
        return stable["weight"], canary["weight"]

    def release_version(self, version: str) -> None:
        """What `kubectl set image` does, with the version's label."""
        template = {
            "metadata": {"labels": {"app.kubernetes.io/version": version}},
            "spec": {"containers": [{"name": "server", "image": f"digits:{version}"}]},
        }
        self.patch("deployment", "digits-canary", {"spec": {"template": template}})

    def wait(self, condition: str, *, seconds: int = 60) -> None:
        arguments = ("wait", "canary/digits", f"--for=condition={condition}", f"--timeout={seconds}s")
        done = self.run(*arguments, timeout=seconds + 20)
        assert done.returncode == 0, f"{condition}: {done.stderr}\n{self('get', 'canary', '-o', 'wide')}"


class World:
    """The gateway and the Prometheus: accepts routes, sends 100 requests a turn, and counts them by pod."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._ended = threading.Event()
        self.counted: dict[str, list[float]] = {}
        self.error_rate: dict[str, float] = {}
        self.seconds: dict[str, float] = {}
        """Mean latency of the pods whose name has this word; 20 ms elsewhere."""
        self.answers = True
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
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._threads = [threading.Thread(target=work) for work in (self._server.serve_forever, self._serve)]
        for thread in self._threads:
            thread.start()

    def answer(self, query: str) -> Object:
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

    def close(self) -> None:
        self._ended.set()
        self._server.shutdown()
        for thread in self._threads:
            thread.join()
        self._server.server_close()

    def _serve(self) -> None:
        while not self._ended.wait(0.2):
            if self._cluster.run("get", "httproute", "digits").returncode == 0:
                self._accept()
                self._send()

    def _accept(self) -> None:
        route = self._cluster.get("httproute", "digits")
        condition = {
            "status": "True",
            "reason": "Accepted",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        newest = {**condition, "observedGeneration": route["metadata"]["generation"]}
        conditions = [{"type": kind, **newest} for kind in ("Accepted", "ResolvedRefs")]
        parents = [{"parentRef": {"name": "gw"}, "controllerName": "a.test/gateway", "conditions": conditions}]
        if route.get("status") != {"parents": parents}:
            self._cluster.run(
                "patch", "httproute", "digits", "--subresource=status", "--type=merge",
                "--patch", json.dumps({"status": {"parents": parents}}),
            )  # fmt: skip

    def _send(self) -> None:
        pods = [pod for pod in self._cluster.get("pods")["items"] if pod["status"].get("phase") == "Running"]
        for track, weight in zip(("stable", "canary"), self._cluster.weights, strict=True):
            behind = [pod for pod in pods if pod["metadata"]["labels"]["track"] == track]
            for pod in behind:
                counts = self.counted.setdefault(pod["metadata"]["name"], [0, 0])
                new = 100 * weight // 100 // len(behind)
                counts[0] += new
                version = pod["metadata"]["labels"]["app.kubernetes.io/version"]
                counts[1] += new * self.error_rate.get(version, 0.0)


class Controller:
    """`torchfinch controller` as a process, with the service account's own token."""

    def __init__(self, kubeconfig: Path, log: Path) -> None:
        self._kubeconfig, self._log = kubeconfig, log
        self.looks = log.parent / "looks"
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(BIN / "torchfinch"), "controller", "--record", str(self.looks)],
                env={**os.environ, "KUBECONFIG": str(self._kubeconfig)},
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text()
