"""Every kind of split, and a baseline, each on the real API server by one controller."""

import threading
from functools import partial

import pytest
from release.cluster.apps import ENDLESS, App, MakeApp, backends
from release.cluster.place import Object
from release.cluster.world import Traffic
from waiting import within

from torchfinch.release.cluster.kinds import DEPLOYMENTS, HTTP_ROUTES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

DIALECTS = pytest.mark.parametrize("route", ["HTTPRoute", "VirtualService", "Replicas"])


def ended(app: App, version: str) -> bool:
    return app.version == version and app.holds("RolledBack")


@pytest.mark.parametrize("route", ["HTTPRoute", "VirtualService"])
def test_a_baseline_runs_stables_version_with_the_load_of_the_canary_and_its_latency_is_what_counts(
    make_app: MakeApp, traffic: Traffic, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    monkeypatch.setattr(traffic, "seconds", {})
    app = make_app(route=route, baseline={"deployment": "digits-baseline"}, analysis=ENDLESS)
    app.offer("2.0")
    assert within(60, lambda: app.weights == [50, 25, 25]), app.status
    assert app.replicas == [2, 2, 2]
    assert within(5, lambda: app.status["baseline"]["version"] == "1.0"), "written after the weights"

    app.merge(DEPLOYMENTS, {"spec": {"replicas": 0}}, "digits-baseline")
    assert within(20, lambda: app.weights == [75, 25, 0]), app.status
    assert within(60, lambda: app.weights == [50, 25, 25]), "it is started again"

    traffic.seconds["digits-stable"] = 0.005  # busy servers may well be the faster ones
    app.spec(analysis={"minRequests": 50})
    app.wait("Promoted")
    assert app.weights == [100, 0, 0]
    assert within(20, lambda: app.replicas == [2, 0, 0])

    app.spec(analysis=ENDLESS)
    app.offer("3.0")
    assert within(60, lambda: app.weights == [50, 25, 25]), app.status
    assert within(5, lambda: app.status["baseline"]["version"] == "2.0"), "written after the weights"
    app.cluster("delete", "canary", "digits")
    assert within(20, lambda: app.weights == [100, 0, 0])


def test_a_route_that_loses_the_baselines_backend_holds_its_weight_and_can_be_aborted(make_app: MakeApp) -> None:
    app = make_app(baseline={"deployment": "digits-baseline"}, analysis=ENDLESS)
    app.offer("2.0")
    assert within(60, lambda: app.weights == [50, 25, 25]), app.status
    stable, canary, _ = backends(app.get(HTTP_ROUTES)["spec"])
    rules = app.get(HTTP_ROUTES)["spec"]["rules"]
    rules[0]["backendRefs"] = [{**stable, "weight": 75}, canary]
    app.merge(HTTP_ROUTES, {"spec": {"rules": rules}})
    assert within(60, lambda: "digits-baseline is no backend of every rule" in app.status["reason"]), app.status
    assert app.weights == [75, 25]

    app.spec(action={"type": "abort", "id": "once"})
    app.wait("RolledBack")
    assert app.weights == [100, 0]


@DIALECTS
def test_every_kind_of_split_leads_a_good_version_to_stable_and_a_bad_one_back(
    make_app: MakeApp, traffic: Traffic, route: str
) -> None:
    traffic.error_rate["bad"] = 0.3
    app = make_app(route=route)
    at_rest = app.weights
    app.offer("2.0")
    app.wait("Promoted")
    assert within(20, lambda: app.weights == at_rest), "without a route the canary's pods go as stable's become ready"
    assert list(dict.fromkeys(each["weight"] for each in app.status["decisions"])) == [0, 25, 50, 100]

    app.offer("bad")
    app.wait("RolledBack")
    assert "error rate" in app.status["reason"]
    assert app.weights == at_rest, "rolled back means that nobody has the canary any more"
    assert within(20, lambda: app.replicas == [2, 0]), "the canary's pods go after scaleDownDelay"


def test_a_version_that_does_not_start_gets_no_traffic_nor_does_the_next_but_a_good_one_after_them_is_released(
    make_app: MakeApp,
) -> None:
    app = make_app(progressDeadline="2s")
    for version in ("2.0", "3.0"):
        app.offer(version, starts=False)
        assert within(60, partial(ended, app, version)), app.status
        assert app.status["reason"] == "no progress for 2 s: the canary is not ready: 0 of 2 pods are"
    assert {each["weight"] for each in app.status["decisions"]} == {0}

    app.spec(progressDeadline="60s")
    app.offer("4.0")
    app.wait("Promoted")
    told = "4.0 is stable now"
    assert within(20, lambda: app.decided[-2:] == [told, told]), "the second time its canary was ended"
    before = app.decided
    app.merge(DEPLOYMENTS, {"spec": {"progressDeadlineSeconds": 3}}, "digits-canary")  # an edit that is no version
    assert not within(1, lambda: app.decided != before or not app.holds("Promoted"))


@DIALECTS
def test_scaling_amid_a_release_or_a_pause_of_it_starts_nothing_anew(make_app: MakeApp, route: str) -> None:
    app = make_app(route=route, analysis=ENDLESS)
    app.offer("2.0")
    app.reach(25)
    started = app.status["startedAt"]
    app.merge(DEPLOYMENTS, {"spec": {"replicas": 4}}, "digits-stable")
    assert within(20, lambda: len(app.pods) >= 5)
    assert app.status["startedAt"] == started
    split = {"Replicas": [4, 1]}.get(route, [75, 25])
    assert within(20, lambda: app.holds("RouteSynced") and app.weights == split), app.status
    assert app.status["phase"] == "Progressing"

    app.spec(paused=True)
    app.wait("Paused")
    app.merge(DEPLOYMENTS, {"spec": {"replicas": 2}}, "digits-stable")
    if route != "Replicas":  # where it would be a weight set by hand
        app.merge(DEPLOYMENTS, {"spec": {"replicas": 1}}, "digits-canary")
    split = {"Replicas": [2, 1]}.get(route, [75, 25])
    assert within(20, lambda: len(app.pods) == 3)
    assert not within(1, lambda: app.weights != split or not app.holds("Paused"))
    assert app.status["startedAt"] == started


def test_stable_scaled_down_right_after_an_abort_has_all_traffic_on_the_pods_that_it_is_left(make_app: MakeApp) -> None:
    apps = [make_app(route=route, analysis=ENDLESS) for route in ("HTTPRoute", "VirtualService", "Replicas")]
    for app in apps:
        app.merge(DEPLOYMENTS, {"spec": {"replicas": 4}}, "digits-stable")
        app.offer("2.0")
    for app in apps:
        app.reach(25)
        app.spec(action={"type": "abort", "id": "back"})
        app.merge(DEPLOYMENTS, {"spec": {"replicas": 2}}, "digits-stable")
    for app in apps:
        app.wait("RolledBack")
        assert within(20, partial(goes_to_rest, app)), app.replicas


def goes_to_rest(app: App) -> bool:
    """Whether stable alone has pods: 2, or 3 where it was on its way from 3 to 4 when one was taken."""
    return app.replicas in ([2, 0], [3, 0]) and app.weights in ([100, 0], app.replicas)


class Watch:
    """Counts the pods of an app that are available, all the time."""

    def __init__(self, app: App) -> None:
        self.fewest = 1_000
        self._app, self._over = app, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.02):
            ready = [pod for pod in self._app.pods if _available(pod)]
            self.fewest = min(self.fewest, len(ready))

    def end(self) -> int:
        self._over.set()
        self._thread.join()
        return self.fewest


def _available(pod: Object) -> bool:
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def test_where_pods_are_the_weight_as_many_serve_while_it_moves_forward_back_and_at_the_promotion(
    make_app: MakeApp,
) -> None:
    app = make_app(route="Replicas", analysis=ENDLESS, steps=[{"weight": 10}, {"weight": 50}])
    surge = {"strategy": {"rollingUpdate": {"maxUnavailable": 0}}}
    app.merge(DEPLOYMENTS, {"spec": {"replicas": 8, **surge}}, "digits-stable")
    app.merge(DEPLOYMENTS, {"spec": surge}, "digits-canary")
    assert within(20, lambda: sum(map(_available, app.pods)) == 8)
    watch = Watch(app)
    try:
        app.offer("2.0")
        app.reach(10)
        for number, (weight, split) in enumerate(((50, [4, 4]), (100, [1, 7]))):
            app.spec(action={"type": "skip", "id": f"skip {number}"})
            app.reach(weight)
            assert app.weights == split
        app.spec(action={"type": "abort", "id": "back"})
        app.wait("RolledBack")
        assert app.weights == [8, 0]
        app.spec(analysis={"minRequests": 50}, action={"type": "retry", "id": "again"})
        app.wait("Promoted")
        assert within(20, lambda: app.weights == [8, 0])
    finally:
        fewest = watch.end()
    assert fewest >= 8


def test_where_pods_are_the_weight_a_single_one_is_not_split_and_the_reason_says_how_many_are_needed(
    make_app: MakeApp,
) -> None:
    app = make_app(route="Replicas")
    app.merge(DEPLOYMENTS, {"spec": {"replicas": 1}}, "digits-stable")
    assert within(20, lambda: len(app.pods) == 1)
    app.offer("2.0")
    assert within(20, lambda: "stable needs 2 or more" in app.status["reason"]), app.status
    app.merge(DEPLOYMENTS, {"spec": {"replicas": 2}}, "digits-stable")
    app.wait("Promoted")
