"""The Lease: of two controllers one acts."""

import json
import signal
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
from release.cluster.apps import ENDLESS, NAMESPACES
from release.cluster.place import Controller
from release.cluster.world import Traffic
from waiting import within

from torchfinch.release.cluster.api import Api, ApiError
from torchfinch.release.cluster.kinds import HTTP_ROUTES
from torchfinch.release.cluster.leader import Lease

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def namespace(traffic: Traffic) -> str:
    name = f"empty-{uuid.uuid4()}"
    traffic.api.create(NAMESPACES.path(None), {"metadata": {"name": name}})
    traffic.namespaces.append(name)
    return name


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_lease_changes_hands_when_its_holder_was_silent_for_all_its_time_and_not_before(
    traffic: Traffic, namespace: str
) -> None:
    clock = Clock()
    first, second = (Lease(traffic.api, namespace=namespace, identity=name, clock=clock) for name in "ab")
    assert first.take()
    assert not second.take()
    clock.now = 9.0
    assert first.take(), "a renewal"
    clock.now = 14.0
    assert not second.take(), "the renewal is seen, and from now on 15 seconds count"
    clock.now = 19.0
    assert not first.held(), "it stops acting ten seconds after it renewed, well before"
    clock.now = 29.0
    assert not second.take()
    clock.now = 29.1
    assert second.take()
    assert second.held()
    assert not first.take()
    assert not first.held()


def test_a_lease_given_back_is_free_at_once(traffic: Traffic, namespace: str) -> None:
    first, second = (Lease(traffic.api, namespace=namespace, identity=name) for name in "ab")
    assert first.take()
    first.release()
    assert not first.held()
    assert second.take()


def test_a_renewal_whose_answer_was_lost_loses_no_lease(traffic: Traffic, namespace: str) -> None:
    holder = Lease(traffic.api, namespace=namespace, identity="a")
    assert holder.take()
    assert Lease(traffic.api, namespace=namespace, identity="a").take(), "came through, unknown to the holder"
    assert holder.take()


def test_without_the_lease_nothing_is_changed(
    control_plane: Path, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(control_plane))
    app, api, clock = traffic.app(), Api(), Clock()
    lease = Lease(api, namespace=app.namespace, identity="a", clock=clock)
    api.may_change = lease.held
    assert lease.take()
    path = HTTP_ROUTES.path(app.namespace, "digits")
    change = {"metadata": {"annotations": {"changed": "yes"}}}
    clock.now = 10.0
    with pytest.raises(ApiError, match="another controller may lead"):
        api.merge(path, change)
    late = {**app.get(HTTP_ROUTES), "metadata": {"name": "late"}}
    with pytest.raises(ApiError, match="another controller may lead"):
        api.create(HTTP_ROUTES.path(app.namespace), late)
    assert [each["metadata"]["name"] for each in api.list_all(HTTP_ROUTES.path(app.namespace))[0]] == ["digits"]
    assert "changed" not in app.get(HTTP_ROUTES)["metadata"].get("annotations", {})
    assert lease.take()
    api.merge(path, change)


def test_of_two_controllers_one_acts_and_one_that_wakes_up_too_late_ends(
    control_plane: Path, traffic: Traffic, tmp_path: Path
) -> None:
    app = traffic.app(analysis=ENDLESS)
    first = Controller(control_plane, tmp_path / "first", "--namespace", app.namespace)
    app.wait("RouteSynced")
    second = Controller(control_plane, tmp_path / "second", "--namespace", app.namespace)
    try:
        app.offer("2.0")
        app.reach(25)
        assert not second.lines()

        first.process.send_signal(signal.SIGSTOP)
        assert within(40, lambda: "started" in second.log)
        before = len(first.lines())
        first.process.send_signal(signal.SIGCONT)
        assert first.process.wait(20) == 1
        assert first.log.endswith("the Lease is lost\n")
        assert all("not sent" in line["trouble"] for line in first.lines()[before:]), "it changed nothing any more"

        app.spec(analysis={"minRequests": 50})
        app.wait("Promoted")
        second.process.terminate()
        assert second.process.wait(20) == 0
        lease = json.loads(app.cluster("get", "lease", "torchfinch-controller", "--output", "json"))
        assert lease["spec"]["holderIdentity"] == "", "given back, so that a new one need not wait"
    finally:
        first.kill()
        second.kill()
