"""What is left where a controller, or the API server itself, is killed at a bad moment."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from release.cluster.apps import ENDLESS, App, Process, Traffic
from release.cluster.place import Cluster
from release.cluster.plane import ControlPlane
from waiting import within

from torchfinch.release.cluster.api import ApiError
from torchfinch.release.cluster.kinds import RELEASES, Kind

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

POLICIES = Kind("ValidatingAdmissionPolicy", "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies")
BINDINGS = Kind(
    "ValidatingAdmissionPolicyBinding", "admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings"
)


@contextmanager
def refused(app: App) -> Iterator[None]:
    """The API server takes no status with weight 25 in the namespace of an app, as if the controller died before it."""
    name = f"no-25-in-{app.namespace}"
    rule = {"apiGroups": ["torchfinch.dev"], "apiVersions": ["*"], "operations": ["UPDATE"]}
    policy = {
        "matchConstraints": {"resourceRules": [{**rule, "resources": ["canaryreleases/status"]}]},
        "validations": [{"expression": "!has(object.status.weight) || object.status.weight != 25"}],
    }
    where = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": app.namespace}}}
    binding = {"policyName": name, "validationActions": ["Deny"], "matchResources": where}
    kinds = {POLICIES: policy, BINDINGS: binding}
    try:
        for kind, spec in kinds.items():
            app.api.create(kind.path(None), {"metadata": {"name": name}, "spec": spec})
        assert within(30, lambda: not _taken(app))
        yield
    finally:
        for kind in kinds:
            app.cluster.run("delete", kind.plural, name)
    assert within(30, partial(_taken, app))


def _taken(app: App) -> bool:
    words = ("patch", "canary", "digits", "--subresource=status", "--type=merge", "--dry-run=server")
    return app.cluster.run(*words, "--patch", '{"status": {"weight": 25}}').returncode == 0


def test_a_controller_killed_after_the_weight_and_before_the_status_is_taken_over_as_if_it_had_not_been(
    control_plane: Path, traffic: Traffic, tmp_path: Path
) -> None:
    app = traffic.app(analysis=ENDLESS)
    arguments = ("--namespace", app.namespace, "--alone")
    first = Process(control_plane, tmp_path / "first", *arguments)
    try:
        app.wait("RouteSynced")
        with refused(app):
            app.offer("2.0")
            assert within(60, lambda: app.weights == [75, 25]), app.status
            first.kill()
            assert app.status["weight"] == 0
    finally:
        first.kill()

    second = Process(control_plane, tmp_path / "second", *arguments)
    try:
        app.reach(25)
        assert app.weights == [75, 25]
        app.spec(analysis={"minRequests": 50})
        app.wait("Promoted")
        assert "took over at weight 25, which was set before the state was written" in second.log
    finally:
        second.kill()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[ControlPlane]:
    """A control plane that may be broken."""
    with (made := ControlPlane(tmp_path / "plane")) as kubeconfig:
        Cluster(kubeconfig, "default").define()
        yield made


def test_an_api_server_that_is_killed_mid_step_and_starts_again_costs_a_release_nothing(
    own: ControlPlane, tmp_path: Path
) -> None:
    traffic = Traffic(own.kubeconfig)
    controller = Process(own.kubeconfig, tmp_path / "log", "--all-namespaces", "--alone")
    try:
        app = traffic.app(analysis=ENDLESS)
        app.offer("2.0")
        app.reach(25)
        own.kill_api_server()
        assert within(30, lambda: "does not answer" in controller.log), controller.log
        own.start_api_server()
        assert within(60, partial(_answers, app))
        assert app.weights == [75, 25]
        app.spec(analysis={"minRequests": 50})
        app.wait("Promoted")
        assert controller.process.poll() is None
    finally:
        controller.kill()
        traffic.close()


def _answers(app: App) -> bool:
    try:
        return bool(app.get(RELEASES))
    except ApiError:
        return False
