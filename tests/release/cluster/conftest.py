"""A real API server with real controllers, and a `torchfinch controller` that has the shipped rights and no more."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from release.cluster.apps import App, MakeApp
from release.cluster.place import NAMED, ROOT, Cluster, Controller
from release.cluster.plane import ControlPlane
from release.cluster.wire import Wire
from release.cluster.world import Traffic, World


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of a control plane that has all definitions."""
    folder = tmp_path_factory.mktemp("plane")
    with nullcontext(_alone(Path(NAMED), folder)) if NAMED else ControlPlane(folder) as kubeconfig:
        Cluster(kubeconfig, "default").define()
        yield kubeconfig


def _alone(kubeconfig: Path, folder: Path) -> Path:
    """The current context of a kubeconfig, with nothing beside it."""
    Cluster.named = folder / "kubeconfig"
    Cluster.named.write_text(Cluster(kubeconfig, "default")("config", "view", "--raw", "--minify", "--flatten"))
    return Cluster.named


@pytest.fixture
def cluster(control_plane: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A namespace of its own with both Deployments, Services, a route, and a release at rest."""
    namespace = f"t{abs(hash(request.node.nodeid)) % 10**8}"
    made = Cluster(control_plane, namespace)
    made("create", "namespace", namespace)
    rights, app = ROOT / "k8s" / "controller" / "rbac.yaml", Path(__file__).with_name("app.yaml")
    made("apply", "-f", str(rights), "-f", str(app))
    yield made
    made("delete", "namespace", namespace, "--wait=false")


@pytest.fixture
def world(cluster: Cluster) -> Iterator[World]:
    made = World(cluster.kubeconfig)
    made.join(cluster)
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
    made = Controller(kubeconfig, tmp_path / "controller.log", "--record", str(tmp_path / "looks"))
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
def everywhere(control_plane: Path, traffic: Traffic, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """One controller for all namespaces."""
    log = tmp_path_factory.mktemp("controller") / "log"
    made = Controller(control_plane, log, "--all-namespaces", "--alone")
    yield made
    made.kill()


@pytest.fixture
def make_app(traffic: Traffic, everywhere: Controller) -> Iterator[MakeApp]:
    """Makes releases at rest, each in a namespace of its own."""

    def make(**spec: Any) -> App:
        app = traffic.app(**spec)
        app.wait("RouteSynced")
        return app

    yield make
    traffic.clear()
