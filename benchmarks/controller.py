"""`torchfinch controller` at rest, beside Flagger and Argo Rollouts in one cluster: CPU, memory, API requests.

    export TORCHFINCH_ENVTEST=… KUBEBUILDER_ASSETS=…     # cluster.py, and the binaries, those two among them
    python benchmarks/controller.py                      # about 15 minutes on two cores

First all three drive 300 releases each, in namespaces of their own, at the same time; torchfinch and Argo Rollouts hold
a Lease, as they do by default. Then torchfinch alone drives 1,000, each with the longest history that a status keeps,
and is started twice: over releases that it has never seen, and over the same ones again. Requests are counted from the
API server's audit log, which also knows who asked. Writes benchmarks/results/controller.json.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer

from torchfinch import __version__
from torchfinch.files import write_whole
from torchfinch.release.cluster.status import DECISIONS
from torchfinch.serving.config import free_ports

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "controller.json"
ASSETS = Path(os.environ.get("KUBEBUILDER_ASSETS", ""))
GOALS = {"full_pass_s": 5.0, "memory_mb": 250.0}
Object = dict[str, Any]

sys.path.insert(0, os.environ.get("TORCHFINCH_ENVTEST", ""))
from cluster import Cluster  # noqa: E402


class Audited(Cluster):
    """The control plane of the tests, whose API server writes down who asked for what."""

    def run(self, name: str, *arguments: str, **environment: str) -> None:
        if name == "kube-apiserver":
            policy = self.data / "audit.json"
            rule = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}
            policy.write_text(json.dumps({**rule, "omitStages": ["ResponseStarted", "ResponseComplete", "Panic"]}))
            arguments += ("--audit-policy-file", str(policy), "--audit-log-path", str(self.log))
        super().run(name, *arguments, **environment)

    @property
    def log(self) -> Path:
        return self.data / "audit.log"

    def requests(self, agent: str, since: int) -> Counter[str]:
        """Requests of a program by verb, of those that were logged after the byte `since`."""
        with self.log.open("rb") as log:
            log.seek(since)
            asked = [json.loads(line) for line in log if line.endswith(b"\n")]
        return Counter(each["verb"] for each in asked if each.get("userAgent", "").startswith(agent))


@dataclass
class Peer:
    """A controller: how it is started and known in the audit log, what it drives, and when that has come to rest."""

    name: str
    agent: str
    command: list[str]
    objects: Callable[[int], Iterator[Object]]
    settled: Callable[[Object], bool]
    plural: str


def named(group: str, kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec}


def template(**labels: str) -> Object:
    container = {"name": "server", "image": "digits:1.0", "ports": [{"containerPort": 8080, "name": "http"}]}
    return {"metadata": {"labels": labels}, "spec": {"containers": [container]}}


def deployment(name: str, replicas: int, **labels: str) -> Object:
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template(**labels)}
    return named("apps/v1", "Deployment", name, spec)


def service(name: str, **labels: str) -> Object:
    ports = [{"port": 8080, "name": "http"}]
    return named("v1", "Service", name, {"clusterIP": "None", "selector": labels, "ports": ports})


def canary_release(number: int) -> Iterator[Object]:
    name = f"app-{number}"
    for track, replicas in (("stable", 1), ("canary", 0)):
        yield deployment(f"{name}-{track}", replicas, app=name, track=track)
        yield service(f"{name}-{track}", app=name, track=track)
    backends = [{"name": f"{name}-{track}", "port": 8080, "weight": 100 * (track == "stable")} for track in TRACKS]
    yield named(
        "gateway.networking.k8s.io/v1",
        "HTTPRoute",
        name,
        {"parentRefs": [{"name": "gw"}], "rules": [{"backendRefs": backends}]},
    )
    spec = {
        "model": "digits",
        "stable": {"deployment": f"{name}-stable"},
        "canary": {"deployment": f"{name}-canary"},
        "route": {"kind": "HTTPRoute", "name": name},
        "steps": [{"weight": 5}, {"weight": 50}, {"weight": 100}],
    }
    yield named("torchfinch.dev/v1alpha1", "CanaryRelease", name, spec)


TRACKS = ("stable", "canary")


def rollout(number: int) -> Iterator[Object]:
    name = f"app-{number}"
    for track in TRACKS:
        yield service(f"{name}-{track}", app=name)
    canary = {
        "canaryService": f"{name}-canary",
        "stableService": f"{name}-stable",
        "steps": [{"setWeight": 20}, {"pause": {}}],
    }
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template(app=name)}
    yield named("argoproj.io/v1alpha1", "Rollout", name, {**spec, "strategy": {"canary": canary}})


def flagger_canary(number: int) -> Iterator[Object]:
    name = f"app-{number}"
    yield deployment(name, 1, app=name)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    spec = {
        "targetRef": target,
        "service": {"port": 8080, "gatewayRefs": [{"name": "gw", "namespace": "default"}]},
        "analysis": {"interval": "15s", "threshold": 5, "stepWeight": 10, "maxWeight": 50, "metrics": []},
    }
    yield named("flagger.app/v1beta1", "Canary", name, spec)


def peers(kubeconfig: Path) -> list[Peer]:
    config = ("--kubeconfig", str(kubeconfig))
    ports = [str(port) for port in free_ports(3)]
    return [
        Peer(
            name="torchfinch",
            agent=f"torchfinch/{__version__}",
            command=[str(Path(sys.executable).parent / "torchfinch"), "controller"],
            objects=canary_release,
            settled=lambda found: bool(found.get("status", {}).get("conditions")),
            plural="canaryreleases.torchfinch.dev",
        ),
        Peer(
            name="argo-rollouts",
            agent="argo-rollouts",
            command=[str(ASSETS / "argo-rollouts-controller"), *config, "--namespaced",
                     "--healthzPort", ports[0], "--metricsPort", ports[1]],
            objects=rollout,
            settled=lambda found: found.get("status", {}).get("phase") == "Healthy",
            plural="rollouts.argoproj.io",
        ),
        Peer(
            name="flagger",
            agent="flagger",
            command=[str(ASSETS / "flagger"), *config, "-mesh-provider", "gatewayapi:v1", "-port", ports[2],
                     "-metrics-server", "http://127.0.0.1:9"],
            objects=flagger_canary,
            settled=lambda found: found.get("status", {}).get("phase") == "Initialized",
            plural="canaries.flagger.app",
        ),
    ]  # fmt: skip


def fill(cluster: Audited, peer: Peer, numbers: range) -> None:
    """Make what a peer drives, in the namespace of its name."""
    found = [each for number in numbers for each in peer.objects(number)]
    cluster.kubectl("create", "--namespace", peer.name, "--filename", "-", stdin=listed(found))


def remember(cluster: Audited) -> None:
    """Give each release the longest history that its status keeps."""
    arm = {"requests": 12345, "errors": 12, "latency_sum": 234.5678, "latency_count": 12345}
    said = "123 canary requests at weight 5 keep the limits; the next step is weight 50"
    decision = {"time": "2026-01-01T00:00:00Z", "phase": "Progressing", "step": 1, "weight": 5, "reason": said}
    decisions = [{**decision, "stable": arm, "canary": arm, "notes": said}] * DECISIONS
    found = [
        {**each, "status": {**each.get("status", {}), "decisions": decisions}}
        for each in objects(cluster, "torchfinch", "canaryreleases.torchfinch.dev")
    ]
    cluster.kubectl("replace", "--subresource=status", "--filename", "-", stdin=listed(found))


def listed(found: list[Object]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": found})


def objects(cluster: Audited, namespace: str, plural: str) -> list[Object]:
    found: list[Object] = json.loads(cluster.kubectl("get", plural, "--namespace", namespace, "--output", "json"))[
        "items"
    ]
    return found


@contextmanager
def running(peer: Peer, kubeconfig: Path, folder: Path) -> Iterator[psutil.Process]:
    with (folder / f"{peer.name}.log").open("wb") as log:
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "POD_NAMESPACE": peer.name}
        started = subprocess.Popen(
            [*peer.command, "--namespace", peer.name], env=environment, stdout=log, stderr=log, cwd=folder
        )
        try:
            yield psutil.Process(started.pid)
        finally:
            started.terminate()
            started.wait(30)


def wait(what: str, done: Callable[[], bool], *, seconds: float = 900, pause: float = 5) -> None:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(pause)


def all_settled(cluster: Audited, peer: Peer, count: int) -> bool:
    found = objects(cluster, peer.name, peer.plural)
    return len(found) == count and all(map(peer.settled, found))


def all_ready(cluster: Audited, peer: Peer) -> bool:
    found = objects(cluster, peer.name, "deployments")
    return all(each["status"].get("readyReplicas", 0) == each["spec"]["replicas"] for each in found)


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def measure(cluster: Audited, processes: dict[str, tuple[Peer, psutil.Process]], minutes: float) -> Object:
    """CPU, memory and requests of each process while nothing happens."""
    since = cluster.log.stat().st_size
    before = {name: cpu(process) for name, (_, process) in processes.items()}
    time.sleep(60 * minutes)
    measured: Object = {}
    for name, (peer, process) in processes.items():
        verbs = cluster.requests(peer.agent, since)
        writes = sum(count for verb, count in verbs.items() if verb not in {"get", "list", "watch"})
        measured[name] = {
            "cpu_s_per_min": round((cpu(process) - before[name]) / minutes, 3),
            "memory_mb": round(process.memory_info().rss / 1e6, 1),
            "requests_per_min": round(verbs.total() / minutes, 1),
            "writes_per_min": round(writes / minutes, 1),
            "verbs": dict(verbs),
        }
    return measured


def until_quiet(process: psutil.Process, folder: Path) -> float:
    """Seconds from the line `started` until the controller has nothing to do: its full pass."""
    log = folder / "torchfinch.log"
    wait("started", lambda: '"started"' in log.read_text(), seconds=120, pause=0.02)
    began = last = time.monotonic()
    used = cpu(process)
    while time.monotonic() - last < 3:
        time.sleep(0.1)
        if cpu(process) - used > 0.02:
            last, used = time.monotonic(), cpu(process)
    return round(last - began, 1)


def beside(cluster: Audited, folder: Path, *, count: int, minutes: float) -> Object:
    everyone = peers(cluster.kubeconfig)
    for peer in everyone:
        fill(cluster, peer, range(count))
    with ExitStack() as stack:
        processes = {
            peer.name: (peer, stack.enter_context(running(peer, cluster.kubeconfig, folder))) for peer in everyone
        }
        for peer in everyone:
            wait(f"{peer.name} at rest", partial(all_settled, cluster, peer, count))
        time.sleep(60)  # what is written at last
        measured = measure(cluster, processes, minutes)
    own = measured["torchfinch"]
    names = ("cpu_s_per_min", "memory_mb", "requests_per_min", "writes_per_min")
    ratios = {
        peer.name: {
            name: round(own[name] / measured[peer.name][name], 3) for name in names if measured[peer.name][name]
        }
        for peer in everyone[1:]
    }
    return {"releases": count, "measured": measured, "torchfinch_over": ratios}


def many(cluster: Audited, folder: Path, *, known: int, count: int, minutes: float) -> Object:
    peer = peers(cluster.kubeconfig)[0]
    fill(cluster, peer, range(known, count))
    wait("pods", partial(all_ready, cluster, peer))
    remember(cluster)
    found: Object = {"releases": count}
    for name in ("new", "again"):
        since = cluster.log.stat().st_size
        with running(peer, cluster.kubeconfig, folder) as process:
            found[name] = {"full_pass_s": until_quiet(process, folder)}
            found[name]["start_requests"] = dict(cluster.requests(peer.agent, since))
            wait(f"{count} at rest", partial(all_settled, cluster, peer, count))
            time.sleep(20)
            found[name] |= measure(cluster, {peer.name: (peer, process)}, minutes if name == "again" else 0.5)[
                peer.name
            ]
    return found


def main(
    count: Annotated[int, typer.Option(help="Releases of each controller beside each other.")] = 300,
    alone: Annotated[int, typer.Option(help="Releases of torchfinch alone.")] = 1000,
    minutes: Annotated[float, typer.Option(help="How long nothing happens while it is measured.")] = 3,
    output: Annotated[Path, typer.Option(help="The result.")] = RESULT,
) -> None:
    with tempfile.TemporaryDirectory(prefix="controller-") as name:
        folder = Path(name)
        cluster = Audited(ASSETS, folder / "control-plane")
        try:
            cluster.start()
            cluster.start_controllers()
            cluster.start_kwok("10.244.0.1/16")
            for manifests in ("gateway-api", "argo-rollouts", "flagger"):
                cluster.kubectl("apply", "--server-side", "-f", str(ASSETS / "manifests" / manifests))
            cluster.kubectl("apply", "--server-side", "-k", str(ROOT / "k8s" / "crd"))
            cluster.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=60s")
            for peer in peers(cluster.kubeconfig):
                cluster.kubectl("create", "namespace", peer.name)
            together = beside(cluster, folder, count=count, minutes=minutes)
            print(json.dumps(together, indent=2))
            scale = many(cluster, folder, known=count, count=alone, minutes=minutes)
            print(json.dumps(scale, indent=2))
        finally:
            cluster.close()
    result = {
        "beside": together,
        "alone": scale,
        "goals": GOALS,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {"torchfinch": __version__, "kubernetes": "1.37.2", "argo-rollouts": "1.10.1", "flagger": "1.36.1"},
    }
    write_whole(output, json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
