"""What happens to releases in life, each on the real API server: all by one controller, in namespaces of their own."""

import time
from functools import partial

import pytest
from release.cluster.apps import ENDLESS, MakeApp
from release.cluster.place import Object
from waiting import within

from torchfinch.release.cluster.kinds import DEPLOYMENTS, HTTP_ROUTES, RELEASES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_a_version_and_a_number_of_pods_may_change_in_one_edit(make_app: MakeApp) -> None:
    app = make_app()
    app.merge(DEPLOYMENTS, {"spec": {"replicas": 1}}, "digits-canary")
    app.offer("2.0")
    app.wait("Promoted")
    assert app.get(DEPLOYMENTS, "digits-stable")["spec"]["replicas"] == 2


def test_an_undo_to_a_version_that_is_not_stable_begins_the_analysis_again(make_app: MakeApp) -> None:
    app = make_app(analysis=ENDLESS)
    for version in ("2.0", "3.0"):
        app.offer(version)
        assert within(30, partial(app.begins, version)), app.status
    began = app.status["startedAt"]
    time.sleep(1.1)  # it is told in whole seconds
    app.cluster("rollout", "undo", "deployment/digits-canary")
    assert within(30, partial(app.begins, "2.0"))
    assert app.status["startedAt"] > began
    anew = [reason for reason in app.decided if "a new canary is offered" in reason]
    assert len(anew) == 3


def test_an_aborted_version_is_tried_again_by_retry_and_when_it_is_offered_again_after_one_that_starts_nothing(
    make_app: MakeApp,
) -> None:
    app = make_app(analysis=ENDLESS)
    app.offer("2.0")
    app.reach(25)
    app.spec(action={"type": "abort", "id": "1"})
    app.wait("RolledBack")
    app.spec(action={"type": "retry", "id": "2"})
    app.reach(25)
    app.spec(action={"type": "abort", "id": "3"})
    app.wait("RolledBack")
    began = app.status["startedAt"]
    app.offer("1.0")
    assert within(20, lambda: app.status["phase"] == "Idle"), app.status
    assert not within(1, lambda: app.status["startedAt"] != began or app.weights != [100, 0])
    assert app.holds("RolledBack")
    app.offer("2.0")
    app.reach(25)
    app.spec(action={"type": "abort", "id": "4"})
    app.wait("RolledBack")
    app.spec(analysis={"minRequests": 50})
    app.offer("3.0")
    app.wait("Promoted")
    assert [reason for reason in app.decided if "asked to abort" in reason]
    assert app.status["stable"]["version"] == "3.0"


def test_a_pause_outlasts_its_steps_time_and_gives_a_new_version_nothing_until_whoever_waits_sees_it_promoted(
    make_app: MakeApp,
) -> None:
    app = make_app(steps=[{"weight": 25, "duration": "1s"}], analysis=ENDLESS)
    app.offer("2.0")
    app.reach(25)
    app.spec(paused=True)
    app.cluster("wait", "canary/digits", "--for=condition=Paused", "--timeout=30s")
    app.spec(analysis={"minRequests": 50})
    assert not within(2, lambda: app.weights != [75, 25] or not app.holds("Paused"))

    app.offer("3.0")
    assert within(30, lambda: app.version == "3.0" and app.status["canary"]["ready"] == 2), app.status
    assert not within(1, lambda: app.weights != [100, 0] or not app.holds("Paused"))
    app.spec(action={"type": "promote", "id": "now"})
    app.cluster("wait", "canary/digits", "--for=condition=Paused=False", "--timeout=30s")
    app.wait("Promoted")
    assert app.status["stable"]["version"] == "3.0"


def test_steps_edited_amid_a_release_are_those_that_follow(make_app: MakeApp) -> None:
    app = make_app(analysis=ENDLESS)
    app.offer("2.0")
    app.reach(25)
    app.spec(steps=[{"weight": 10}, {"weight": 40}], analysis={"minRequests": 50})
    app.wait("Promoted")
    assert list(dict.fromkeys(each["weight"] for each in app.status["decisions"])) == [0, 25, 40, 100]


def test_a_canary_all_of_whose_pods_are_gone_gets_no_more_traffic(make_app: MakeApp) -> None:
    app = make_app(analysis=ENDLESS)
    app.offer("2.0")
    app.reach(25)
    app.cluster("scale", "deployment/digits-canary", "--replicas", "0")
    app.wait("RolledBack")
    assert "no ready endpoint" in app.status["reason"]
    assert app.weights == [100, 0]


def test_what_others_change_in_the_route_amid_a_release_stays(make_app: MakeApp) -> None:
    app = make_app(analysis=ENDLESS)
    app.offer("2.0")
    app.reach(25)
    rules = app.get(HTTP_ROUTES)["spec"]["rules"]
    rules[0]["timeouts"] = {"request": "7s"}
    app.merge(HTTP_ROUTES, {"spec": {"rules": [*rules, {"matches": [{"path": {"value": "/docs"}}]}]}})
    app.spec(analysis={"minRequests": 50})
    app.wait("Promoted")
    first, second = app.get(HTTP_ROUTES)["spec"]["rules"]
    assert first["timeouts"] == {"request": "7s"}
    assert second["matches"][0]["path"]["value"] == "/docs"


@pytest.mark.parametrize("end", ["the first is deleted", "the first names another route"])
def test_a_second_release_on_a_route_leaves_it_alone_and_says_whose_it_is_until(make_app: MakeApp, end: str) -> None:
    app = make_app(analysis=ENDLESS)
    app.offer("2.0")
    app.reach(25)
    first = app.get(RELEASES)
    second = {
        **first,
        "metadata": {"name": "second"},
        "spec": {**first["spec"], "canary": {"deployment": "digits-canary"}},
    }
    app.make({key: value for key, value in second.items() if key != "status"})

    def status() -> Object:
        return dict(app.get(RELEASES, "second").get("status", {}))

    refused = "HTTPRoute digits is driven by CanaryRelease digits"
    assert within(20, lambda: status().get("reason") == refused), status()
    synced = {each["type"]: each for each in status()["conditions"]}["RouteSynced"]
    assert (synced["status"], synced["message"]) == ("False", refused)
    app.merge(RELEASES, {"spec": {"action": {"type": "abort", "id": "of the second"}}}, "second")
    assert not within(2, lambda: app.weights != [75, 25] or app.status["phase"] != "Progressing")

    app.spec(analysis={"minRequests": 50})
    app.wait("Promoted")
    if "deleted" in end:
        app.cluster("delete", "canary", "digits")
    else:
        app.spec(route={"name": "another"})
    assert within(20, lambda: status()["reason"] == "2.0 is stable"), status()


def test_all_traffic_by_a_persons_word_and_a_weight_raised_by_hand_is_put_back(make_app: MakeApp) -> None:
    app = make_app(analysis=ENDLESS)
    app.offer("2.0")
    app.reach(25)
    route = app.get(HTTP_ROUTES)["spec"]["rules"]
    for backend, weight in zip(route[0]["backendRefs"], (10, 90), strict=True):
        backend["weight"] = weight
    app.merge(HTTP_ROUTES, {"spec": {"rules": route}})
    assert within(20, lambda: app.weights == [75, 25])
    assert within(20, lambda: any("raised by hand to 90" in each["notes"] for each in app.status["decisions"]))
    app.spec(action={"type": "promote", "id": "now"})
    app.wait("Promoted")
