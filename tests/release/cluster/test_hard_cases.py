"""What a release meets in life and is seldom tested: each on the real API server, by one controller."""

import json
import re
from datetime import UTC, datetime
from functools import partial

import pytest
from release.cluster.apps import ENDLESS, PODS, App, MakeApp
from release.cluster.place import Object
from release.cluster.world import Traffic
from waiting import within

from torchfinch.release.cluster.kinds import DEPLOYMENTS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_a_route_that_its_gateway_does_not_accept_holds_the_weight_until_it_does(
    make_app: MakeApp, traffic: Traffic
) -> None:
    app = make_app()
    traffic.refused[app.namespace] = "no listener of this name"
    app.offer("2.0")
    assert within(30, lambda: app.status["reason"] == "the route with weight 0 is not taken up yet"), app.status
    synced = {each["type"]: each for each in app.status["conditions"]}["RouteSynced"]
    assert (synced["status"], synced["message"]) == (
        "False",
        "the route is not accepted: no listener of this name; no listener of this name",
    )
    assert not within(2, lambda: app.weights != [100, 0])
    del traffic.refused[app.namespace]
    app.wait("Promoted")


def test_a_restart_of_either_deployment_is_no_new_version_amid_a_release_and_after_it(make_app: MakeApp) -> None:
    app = make_app(analysis=ENDLESS)
    app.offer("2.0")
    app.reach(25)
    began = app.status["startedAt"]
    for track in ("canary", "stable"):
        app.cluster("rollout", "restart", f"deployment/digits-{track}")
        app.cluster("rollout", "status", f"deployment/digits-{track}", "--timeout=30s")
        assert app.weights == [75, 25]
    app.spec(analysis={"minRequests": 50})
    app.wait("Promoted")
    assert app.status["startedAt"] == began

    ended = app.status["endedAt"]
    app.cluster("rollout", "restart", "deployment/digits-stable", "deployment/digits-canary")
    app.cluster("rollout", "status", "deployment/digits-stable", "--timeout=30s")
    assert not within(1, lambda: not app.holds("Promoted") or app.status["endedAt"] != ended)


def test_a_new_version_whose_canary_has_no_pods_gets_no_weight_before_it_has_some(make_app: MakeApp) -> None:
    app = make_app(analysis=ENDLESS)
    app.offer("2.0")
    app.reach(25)
    app.offer("3.0", starts=False, replicas=0)
    assert within(30, lambda: app.weights == [100, 0]), app.status
    assert within(30, lambda: app.version == "3.0" and app.replicas[1] > 0), app.status
    assert not within(1, lambda: app.weights != [100, 0])
    app.offer("4.0")
    assert within(60, partial(app.begins, "4.0")), app.status


def requests(app: App) -> int:
    return int(json.loads(app.status["state"])["total"]["canary"]["requests"])


def test_a_pod_that_counts_from_zero_again_takes_nothing_from_what_was_counted(
    make_app: MakeApp, traffic: Traffic
) -> None:
    app = make_app(analysis=ENDLESS)
    app.offer("2.0")
    app.reach(25)
    assert within(30, lambda: requests(app) > 200)
    own = [pod["metadata"]["name"] for pod in app.pods if pod["metadata"]["labels"]["track"] == "canary"]
    before = requests(app)
    for pod in own:
        traffic.counted[pod] = [0, 0]
    seen = [before]

    def went_on() -> bool:
        seen.append(requests(app))
        return seen[-1] > before + 200

    assert within(30, went_on)
    assert seen == sorted(seen)


def test_a_stable_without_requests_is_no_measure_and_absolute_limits_judge_alone(
    make_app: MakeApp, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "silent", {"stable"})
    monkeypatch.setitem(traffic.error_rate, "too-much", 0.3)
    app = make_app()
    app.offer("too-much")
    app.wait("RolledBack")
    assert "error rate" in app.status["reason"]
    assert app.status["compared"]["requests"].endswith("/0")


def test_measurements_that_grow_old_amid_a_step_hold_the_weight_and_say_so_until_there_are_new_ones(
    make_app: MakeApp, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(analysis={**ENDLESS, "maxAge": "1s"})
    app.offer("2.0")
    app.reach(25)
    monkeypatch.setattr(traffic, "old", {})
    said = re.compile(r"measurements are \d+ s old, more than 1 s")
    assert within(20, lambda: bool(said.fullmatch(app.status["reason"]))), app.status
    assert not app.holds("MetricsAvailable")
    app.spec(analysis={"minRequests": 50})
    assert not within(1, lambda: app.weights != [75, 25])
    monkeypatch.setattr(traffic, "old", None)
    app.wait("Promoted")


def test_a_canary_without_a_request_is_taken_back_at_the_deadline_which_a_pause_may_outlast(
    make_app: MakeApp, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "silent", {"canary"})
    app = make_app()
    app.offer("2.0")
    app.reach(25)
    app.spec(paused=True, progressDeadline="2s")
    app.wait("Paused")
    assert not within(3, lambda: app.weights != [75, 25] or not app.holds("Paused"))
    app.spec(paused=False)
    app.wait("RolledBack")
    assert app.status["reason"] == "no progress for 2 s: 0 of 50 canary requests"
    assert app.weights == [100, 0]


def test_a_stable_version_that_is_lost_holds_the_weight_and_a_person_may_promote_the_canary(make_app: MakeApp) -> None:
    app = make_app(analysis=ENDLESS)
    app.offer("2.0")
    app.reach(25)
    for pod in app.pods:
        if pod["metadata"]["labels"]["track"] == "stable":
            unready(app, pod)
    assert within(20, lambda: app.status["reason"] == "stable has no ready endpoint: holding the canary at weight 25")
    assert app.weights == [75, 25]
    app.spec(action={"type": "promote", "id": "now"})
    app.wait("Promoted")
    assert app.status["stable"]["version"] == "2.0"


def unready(app: App, pod: Object) -> None:
    """What a readiness probe that fails does."""
    conditions = [
        {**each, "status": "False"} if each["type"] == "Ready" else each for each in pod["status"]["conditions"]
    ]
    path = PODS.path(app.namespace, pod["metadata"]["name"], "status")
    app.api.merge(path, {"status": {"conditions": conditions}})


@pytest.mark.parametrize(("version", "end"), [("2.0", "Promoted"), ("bad", "RolledBack")])
def test_the_canarys_pods_go_after_the_delay_and_never_before_and_no_autoscaler_brings_them_back(
    make_app: MakeApp, traffic: Traffic, version: str, end: str
) -> None:
    traffic.error_rate["bad"] = 0.3
    app = make_app(scaleDownDelay="4s")
    app.offer(version)
    app.wait(end)
    app.spec(progressDeadline="1s")
    assert within(30, lambda: app.replicas[1] == 0)
    fields = app.get(DEPLOYMENTS, "digits-canary")["metadata"]["managedFields"]
    scaled = next(each for each in fields if each["manager"] == "torchfinch" and "f:replicas" in str(each["fieldsV1"]))
    assert (moment(scaled["time"]) - moment(app.status["endedAt"])).total_seconds() >= 3  # of 4, told in whole ones
    assert app.holds(end), "a deadline is for what is under way"
    app.merge(DEPLOYMENTS, {"spec": {"replicas": 2}}, "digits-canary")
    assert within(20, lambda: app.replicas[1] == 0)


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
