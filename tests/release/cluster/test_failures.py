"""What a controller does when the API server, the network, another controller or a metrics server fails it."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from release.cluster.apps import ENDLESS, ROUTES, App, backends
from release.cluster.place import Controller
from release.cluster.wire import Wire
from release.cluster.world import Traffic
from waiting import within

from torchfinch.release.cluster import cache as cache_module
from torchfinch.release.cluster.api import Api, ApiError
from torchfinch.release.cluster.cache import Cache
from torchfinch.release.cluster.kinds import DEPLOYMENTS, HTTP_ROUTES, RELEASES
from torchfinch.release.cluster.marks import ANNOTATION

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_an_api_server_that_goes_mid_step_and_comes_back_costs_a_release_nothing(
    traffic: Traffic, wire: Wire, tmp_path: Path
) -> None:
    app = traffic.app(analysis=ENDLESS)
    controller = Controller(wire.kubeconfig, tmp_path / "log", "--namespace", app.namespace)
    try:
        app.offer("2.0")
        app.reach(25)
        wire.cut()
        app.spec(analysis={"minRequests": 50})
        assert not within(1, lambda: app.weights != [75, 25])
        wire.mend()
        app.reach(50)
        assert controller.process.poll() is None
        app.wait("Promoted")
    finally:
        controller.kill()


def test_a_watch_that_hangs_is_noticed(traffic: Traffic, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    app = traffic.app()
    monkeypatch.setattr(cache_module, "_WATCH_SECONDS", 1)
    monkeypatch.setenv("KUBECONFIG", str(wire.kubeconfig))
    cache = Cache(Api(seconds=1), [RELEASES], namespace=app.namespace)
    cache.start()
    wire.hold()
    app.spec(paused=True)

    def paused() -> bool:
        found = cache.get(RELEASES, app.namespace, "digits")
        return found is not None and bool(found["spec"]["paused"])

    assert within(20, paused)


def test_what_was_missed_for_so_long_that_its_version_has_expired_is_listed_anew(
    traffic: Traffic, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, gone = traffic.app(), traffic.app()
    monkeypatch.setenv("KUBECONFIG", str(wire.kubeconfig))
    cache, troubles = Cache(Api(), [RELEASES]), list[str]()
    cache.trouble = troubles.append
    cache.start()
    assert cache.get(RELEASES, gone.namespace, "digits")
    wire.cut()
    cache._versions[RELEASES] = "1"  # as of hours ago
    app.spec(paused=True)
    gone.cluster("delete", "canary", "digits")
    wire.mend()

    def known() -> bool:
        found = cache.get(RELEASES, app.namespace, "digits")
        return bool(found and found["spec"].get("paused")) and not cache.get(RELEASES, gone.namespace, "digits")

    assert within(20, known)
    assert not troubles, "it was no third failure that made it list"


def test_an_answer_that_comes_after_the_deletion_brings_no_object_back(
    control_plane: Path, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = traffic.app()
    monkeypatch.setenv("KUBECONFIG", str(control_plane))
    cache = Cache(Api(), [RELEASES], namespace=app.namespace)
    cache.start()
    late = app.get(RELEASES)
    app.cluster("delete", "canary", "digits")
    assert within(20, lambda: not cache.all(RELEASES))
    cache.put(RELEASES, late)
    assert not cache.all(RELEASES)


@pytest.fixture
def controller(control_plane: Path, traffic: Traffic, tmp_path: Path) -> Iterator[Controller]:
    made = Controller(control_plane, tmp_path / "log", "--all-namespaces", "--alone")
    yield made
    made.kill()
    traffic.clear()


def test_whoever_else_changes_the_route_and_the_release_all_the_time_stops_no_rollback_and_no_deletion(
    traffic: Traffic, controller: Controller
) -> None:
    app = traffic.app(analysis=ENDLESS)
    app.offer("2.0")
    app.reach(25)
    over = threading.Event()

    def storm() -> None:
        count = 0
        while not over.is_set():
            count += 1
            for kind in (HTTP_ROUTES, RELEASES):
                with suppress(ApiError):
                    app.merge(kind, {"metadata": {"annotations": {"storm": str(count)}}})

    blowing = threading.Thread(target=storm)
    blowing.start()
    try:
        app.spec(action={"type": "abort", "id": "now"})
        app.wait("RolledBack")
        assert app.weights == [100, 0]
        app.spec(action={"type": "retry", "id": "again"})
        assert within(60, lambda: app.weights == [75, 25])
        app.cluster("delete", "canary", "digits")
        assert within(60, lambda: ANNOTATION not in app.get(HTTP_ROUTES)["metadata"]["annotations"])
        assert app.weights == [100, 0]
    finally:
        over.set()
        blowing.join()


def test_a_metrics_server_that_hangs_delays_nobody_elses_rollback(traffic: Traffic, controller: Controller) -> None:
    traffic.error_rate["bad"] = 0.5
    with socket.create_server(("127.0.0.1", 0)) as hanging:  # takes every connection, and answers none
        evidence = {"kind": "Prometheus", "address": f"http://127.0.0.1:{hanging.getsockname()[1]}"}
        slow = [traffic.app(evidence=evidence) for _ in range(3)]
        healthy = traffic.app()
        for app in slow:
            app.offer("2.0")
        for app in slow:
            assert within(60, partial(unmeasured, app))
        healthy.offer("bad")
        healthy.wait("RolledBack")
        assert all(unmeasured(app) and app.weights == [100, 0] for app in slow)


def unmeasured(app: App) -> bool:
    """Whether a canary waits for measurements before it gets its first user."""
    status = app.status
    return (status.get("phase"), status.get("reason")) == ("Progressing", "no measurements")


def test_a_release_at_rest_and_one_between_two_looks_cost_no_writes(traffic: Traffic, controller: Controller) -> None:
    rest, paused = traffic.app(), traffic.app(analysis={"interval": "300s"}, paused=True)
    for app in (rest, paused):
        app.wait("RouteSynced")
    paused.offer("2.0")
    paused.wait("Paused")
    assert within(40, partial(unchanged_for_a_while, rest, paused)), controller.log


def unchanged_for_a_while(*apps: App) -> bool:
    written = versions(*apps)
    return not within(3, lambda: versions(*apps) != written)


def versions(*apps: App) -> list[str]:
    return [app.get(RELEASES)["metadata"]["resourceVersion"] for app in apps]


def test_splits_whose_releases_were_deleted_while_no_controller_ran_are_given_back_to_stable(
    control_plane: Path, traffic: Traffic, tmp_path: Path
) -> None:
    apps = [traffic.app(route=route) for route in ("HTTPRoute", "VirtualService", "Replicas")]
    for app in apps:
        split(app)
        app.cluster("delete", "canary", "digits")
    assert [app.weights for app in apps] == [[75, 25], [75, 25], [3, 1]]
    controller = Controller(control_plane, tmp_path / "log", "--all-namespaces", "--alone")
    try:
        for app, whole in zip(apps, ([100, 0], [100, 0], [4, 0]), strict=True):
            assert within(30, partial(is_split, app, whole)), controller.log
    finally:
        controller.kill()


def split(app: App) -> None:
    """As a controller leaves it at weight 25."""
    marked: dict[str, object]
    if app.route in ROUTES:
        kind, name, marked = ROUTES[app.route], "digits", {"canary": "digits-canary", "rule": None}
        spec = app.get(kind, name)["spec"]
        for backend, weight in zip(backends(spec), (75, 25), strict=True):
            backend["weight"] = weight
    else:
        app.merge(DEPLOYMENTS, {"spec": {"replicas": 3}}, "digits-stable")
        kind, name, marked, spec = DEPLOYMENTS, "digits-canary", {"pods": 4}, {"replicas": 1}
    mark = json.dumps({"release": "digits", "backends": {"stable": "digits-stable", **marked}})
    app.merge(kind, {"metadata": {"annotations": {ANNOTATION: mark}}, "spec": spec}, name)


def is_split(app: App, weights: list[int]) -> bool:
    return app.weights == weights
