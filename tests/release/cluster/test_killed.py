"""What is left where a controller, or the API server, is killed at a bad moment, or takes no write."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from release.cluster.apps import ENDLESS, App
from release.cluster.place import Cluster, Controller
from release.cluster.plane import ControlPlane
from release.cluster.world import Traffic
from waiting import within

from torchfinch.release.cluster.api import ApiError
from torchfinch.release.cluster.kinds import RELEASES, Kind

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

POLICIES = Kind("ValidatingAdmissionPolicy", "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies")
BINDINGS = Kind(
    "ValidatingAdmissionPolicyBinding", "admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings"
)

NOT_25 = "!has(object.status.weight) || object.status.weight != 25"
STATUS = ("canary", "digits", "--subresource=status", "--patch", '{"status": {"weight": 25}}')
ANNOTATED = ("httproute", "digits", "--patch", '{"metadata": {"annotations": {"a": "b"}}}')


@contextmanager
def refused(app: App, resource: str, expression: str, *dry_run: str) -> Iterator[None]:
    """The API server takes no update of these objects in the namespace of an app but where the expression holds.

    `dry_run` are the words of a patch that it does not take either.
    """
    name, (plural, _, group) = f"no-{app.namespace}", resource.partition(".")
    rule = {"apiGroups": [group], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": [plural]}
    policy = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": expression}]}
    where = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": app.namespace}}}
    binding = {"policyName": name, "validationActions": ["Deny"], "matchResources": where}
    kinds = {POLICIES: policy, BINDINGS: binding}

    def taken() -> bool:
        return app.cluster.run("patch", *dry_run, "--type=merge", "--dry-run=server").returncode == 0

    try:
        for kind, spec in kinds.items():
            app.api.create(kind.path(None), {"metadata": {"name": name}, "spec": spec})
        assert within(30, lambda: not taken())
        yield
    finally:
        for kind in kinds:
            app.cluster.run("delete", kind.plural, name)
    assert within(30, taken)


def test_a_controller_killed_after_the_weight_and_before_the_status_is_taken_over_as_if_it_had_not_been(
    control_plane: Path, traffic: Traffic, tmp_path: Path
) -> None:
    app = traffic.app(analysis=ENDLESS)
    arguments = ("--namespace", app.namespace, "--alone")
    first = Controller(control_plane, tmp_path / "first", *arguments)
    try:
        app.wait("RouteSynced")
        with refused(app, "canaryreleases/status.torchfinch.dev", NOT_25, *STATUS):  # as if it died before it
            app.offer("2.0")
            assert within(60, lambda: app.weights == [75, 25]), app.status
            first.kill()
            assert app.status["weight"] == 0
    finally:
        first.kill()

    second = Controller(control_plane, tmp_path / "second", *arguments)
    try:
        app.reach(25)
        assert app.weights == [75, 25]
        app.spec(analysis={"minRequests": 50})
        app.wait("Promoted")
        assert "took over at weight 25, which was set before the state was written" in second.log
    finally:
        second.kill()


def test_a_route_that_takes_no_change_for_a_while_is_nobodys_wish_and_gets_its_weights_when_it_does(
    control_plane: Path, traffic: Traffic, tmp_path: Path
) -> None:
    app = traffic.app()
    controller = Controller(control_plane, tmp_path / "log", "--namespace", app.namespace, "--alone")
    try:
        app.wait("RouteSynced")
        with refused(app, "httproutes.gateway.networking.k8s.io", "false", *ANNOTATED):
            app.offer("2.0")
            assert within(20, lambda: app.status["phase"] == "Progressing"), app.status
            assert not within(3, lambda: app.weights != [100, 0] or app.status["phase"] != "Progressing"), app.status
        app.wait("Promoted")
    finally:
        controller.kill()


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
    controller = Controller(own.kubeconfig, tmp_path / "log", "--all-namespaces", "--alone")
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
