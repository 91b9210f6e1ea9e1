"""What happens to releases in life, each on the real API server: all by one controller, in namespaces of their own."""

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from release.cluster.apps import App, Process, Traffic, backends
from release.cluster.conftest import Object
from waiting import within

from torchfinch.release.cluster.kinds import DEPLOYMENTS, HTTP_ROUTES, RELEASES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

MakeApp = Callable[..., App]
ENDLESS = {"interval": "300ms", "minRequests": 100_000_000}
DIALECTS = pytest.mark.parametrize("route", ["HTTPRoute", "VirtualService", "Replicas"])


@pytest.fixture(scope="module")
def traffic(control_plane: Path) -> Iterator[Traffic]:
    made = Traffic(control_plane)
    yield made
    made.close()


@pytest.fixture(scope="module", autouse=True)
def controller(control_plane: Path, traffic: Traffic, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One for all namespaces."""
    log = tmp_path_factory.mktemp("controller") / "log"
    made = Process(control_plane, log, "--all-namespaces", "--alone")
    yield made
    made.kill()


@pytest.fixture
def make_app(traffic: Traffic) -> Iterator[MakeApp]:
    def make(**spec: Any) -> App:
        app = traffic.app(**spec)
        app.wait("RouteSynced")
        return app

    yield make
    traffic.clear()


def ended(app: App, version: str) -> bool:
    return app.version == version and app.holds("RolledBack")


def at_25(app: App, version: str) -> bool:
    return app.version == version and app.weights == [75, 25]


@pytest.mark.parametrize("route", ["HTTPRoute", "VirtualService"])
def test_a_baseline_runs_stables_version_with_the_load_of_the_canary_and_its_latency_is_what_counts(
    make_app: MakeApp, traffic: Traffic, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    monkeypatch.setattr(traffic, "seconds", {})
    app = make_app(route=route, baseline={"deployment": "digits-baseline"}, analysis=ENDLESS)
    app.offer("2.0")
    assert within(60, lambda: app.weights == [50, 25, 25]), app.status
    assert app.replicas == [2, 2, 2]
    assert app.status["baseline"]["version"] == "1.0"

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
    assert app.status["baseline"]["version"] == "2.0"
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
        app.offer(version, **{"never-ready": "true"})
        assert within(60, partial(ended, app, version)), app.status
        assert app.status["reason"] == "no progress for 2 s: the canary is not ready: 0 of 2 pods are"
    assert {each["weight"] for each in app.status["decisions"]} == {0}

    app.spec(progressDeadline="60s")
    app.offer("4.0", **{"never-ready": None})
    app.wait("Promoted")
    before = app.decided
    app.merge(DEPLOYMENTS, {"spec": {"progressDeadlineSeconds": 3}}, "digits-canary")  # an edit that is no version
    assert not within(1, lambda: app.decided != before or not app.holds("Promoted"))


@DIALECTS
def test_scaling_amid_a_release_starts_nothing_anew(make_app: MakeApp, route: str) -> None:
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
        assert within(30, partial(at_25, app, version)), app.status
    began = app.status["startedAt"]
    time.sleep(1.1)  # it is told in whole seconds
    app.cluster("rollout", "undo", "deployment/digits-canary")
    assert within(30, partial(at_25, app, "2.0"))
    assert app.status["startedAt"] > began
    anew = [reason for reason in app.decided if "a new canary is offered" in reason]
    assert len(anew) == 3


def test_an_aborted_version_is_tried_again_by_retry_and_another_one_by_being_offered(make_app: MakeApp) -> None:
    app = make_app(analysis=ENDLESS)
    app.offer("2.0")
    app.reach(25)
    app.spec(action={"type": "abort", "id": "1"})
    app.wait("RolledBack")
    app.spec(action={"type": "retry", "id": "2"})
    app.reach(25)
    app.spec(action={"type": "abort", "id": "3"})
    app.wait("RolledBack")
    app.spec(analysis={"minRequests": 50})
    app.offer("3.0")
    app.wait("Promoted")
    assert [reason for reason in app.decided if "asked to abort" in reason]
    assert app.status["stable"]["version"] == "3.0"


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


def test_a_second_release_on_a_route_leaves_it_alone_and_says_whose_it_is_until_the_first_is_deleted(
    make_app: MakeApp,
) -> None:
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
    app.cluster("delete", "canary", "digits")
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
