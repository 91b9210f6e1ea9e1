"""A real API server with real controllers, and a `torchfinch controller` that has the shipped rights and no more."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from release.cluster.apps import App, MakeApp, Process, Traffic
from release.cluster.place import ROOT, Cluster, Controller, World, tools
from release.cluster.wire import Wire
from waiting import within


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of a control plane that has all definitions."""
    envtest, assets = tools()
    data = tmp_path_factory.mktemp("control-plane")
    command = [sys.executable, str(envtest / "cluster.py"), "up", str(data)]
    process = subprocess.Popen([*command, "--with", "controllers", "--with", "kwok"], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        assert "KUBECONFIG" in process.stdout.readline()
        kubectl = Cluster(data / "kubeconfig", "default")
        kubectl("apply", "--server-side", "-f", str(assets / "manifests" / "gateway-api"))
        kubectl("apply", "--server-side", "-k", str(ROOT / "k8s" / "crd"))
        established = ("wait", "crd/canaryreleases.torchfinch.dev", "--for=condition=Established", "--timeout=30s")
        assert within(30, lambda: kubectl.run(*established).returncode == 0)  # it fails before there are conditions
        yield data / "kubeconfig"
    finally:
        process.send_signal(signal.SIGTERM)
        process.stdout.close()
        process.wait(60)


@pytest.fixture
def cluster(control_plane: Path, request: pytest.FixtureRequest) -> Cluster:
    """A namespace of its own with both Deployments, Services, a route, and a release at rest."""
    namespace = f"t{abs(hash(request.node.nodeid)) % 10**8}"
    made = Cluster(control_plane, namespace)
    made("create", "namespace", namespace)
    made("apply", "-f", str(ROOT / "k8s" / "controller" / "rbac.yaml"))
    made("apply", "-f", "-", stdin=(Path(__file__).parent / "app.yaml").read_text())
    return made


@pytest.fixture
def world(cluster: Cluster) -> Iterator[World]:
    made = World(cluster)
    evidence = {"kind": "Prometheus", "address": made.address}
    cluster.patch("canary", "digits", {"spec": {"evidence": evidence}})
    yield made
    made.close()


@pytest.fixture
def controller(cluster: Cluster, world: World, tmp_path: Path) -> Iterator[Controller]:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    token = cluster("create", "token", "torchfinch-controller").strip()
    config["users"][0]["user"] = {"token": token}
    config["contexts"][0]["context"]["namespace"] = cluster.namespace
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    made = Controller(kubeconfig, tmp_path / "controller.log")
    cluster.wait("RouteSynced")
    yield made
    made.kill()


@pytest.fixture
def wire(control_plane: Path, tmp_path: Path) -> Iterator[Wire]:
    made = Wire(control_plane, tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def traffic(control_plane: Path) -> Iterator[Traffic]:
    made = Traffic(control_plane)
    yield made
    made.clear()
    made.close()


@pytest.fixture(scope="module")
def everywhere(control_plane: Path, traffic: Traffic, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One controller for all namespaces."""
    log = tmp_path_factory.mktemp("controller") / "log"
    made = Process(control_plane, log, "--all-namespaces", "--alone")
    yield made
    made.kill()


@pytest.fixture
def make_app(traffic: Traffic, everywhere: Process) -> Iterator[MakeApp]:
    """Makes releases at rest, each in a namespace of its own."""

    def make(**spec: Any) -> App:
        app = traffic.app(**spec)
        app.wait("RouteSynced")
        return app

    yield make
    traffic.clear()
