"""What the page makes of a CanaryRelease's status: decisions that were kept, and looks since it was opened."""

import io
from collections.abc import Iterator
from typing import Any, TextIO, cast

import pytest

from torchfinch.dashboard.cluster import ClusterReleases
from torchfinch.dashboard.page import Page
from torchfinch.release.cluster.api import Api, Object
from torchfinch.release.cluster.cache import Cache
from torchfinch.release.cluster.resource import parse_spec
from torchfinch.release.cluster.store import StatusStore
from torchfinch.release.controller import Controller
from torchfinch.release.simulation.simulated import World
from torchfinch.release.state import Phase

COLLECTION = "/apis/torchfinch.dev/v1alpha1/namespaces/ml/canaryreleases"


class ApiServer:
    """One CanaryRelease as an API server keeps it, for the requests that the page and the status store make."""

    def __init__(self) -> None:
        spec = {
            "model": "digits",
            "stable": {"deployment": "stable"},
            "canary": {"deployment": "canary"},
            "route": {"kind": "HTTPRoute", "name": "digits"},
            "steps": [{"weight": 25}, {"weight": 50}],
        }
        meta = {"name": "digits", "namespace": "ml", "uid": "1", "generation": 1, "resourceVersion": "1"}
        self.found: Object = {"metadata": meta, "spec": spec, "status": {}}
        self.merged: list[Object] = []
        self.listings, self.gone = 0, False

    def get(self, path: str, **query: object) -> Object:
        assert not path.endswith("canaryreleases")
        return self.found

    def list_all(self, path: str) -> tuple[list[Object], str]:
        self.listings += 1
        return [] if self.gone else [self.found], "1"

    def merge(self, path: str, body: Object) -> Object:
        self.merged.append({"path": path, **body})
        version = str(int(self.found["metadata"]["resourceVersion"]) + 1)
        status = {**self.found["status"], **body.get("status", {})}
        meta = {**self.found["metadata"], "resourceVersion": version}
        self.found = {**self.found, "metadata": meta, "status": status}
        return self.found

    def create(self, path: str, body: Object) -> Object:
        return body


class Kept:
    """The part of a cache that a status store uses."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    def get(self, *_: Any) -> Object:
        return self._server.found

    def put(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> ApiServer:
    return ApiServer()


def looked(server: ApiServer, world: World, log: TextIO) -> Iterator[None]:
    """Each step is one look of a controller after some traffic."""
    store = StatusStore(
        cast(Api, server),
        cast(Cache, Kept(server)),
        namespace="ml",
        name="digits",
        view=lambda: world.observe(parse_spec(server.found)),
        measured=lambda: "",
        log=log,
    )
    controller = Controller(
        read_spec=lambda: parse_spec(server.found),
        router=world,
        evidence=world,
        store=store,
        clock=lambda: world.now,
    )
    while True:
        controller.tick()
        world.serve(400, latency={"one": 0.01, "two": 0.012})
        world.now += 5
        yield


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def looks(server: ApiServer, world: World) -> Iterator[None]:
    """The looks of one controller."""
    return looked(server, world, io.StringIO())


def page(source: ClusterReleases) -> str:
    return Page(source, writable=True).render("digits")


def until_promoted(server: ApiServer, looks: Iterator[None]) -> None:
    for _ in range(50):
        next(looks)
        if server.found["status"]["phase"] == Phase.PROMOTED:
            return
    raise AssertionError(server.found["status"])


def test_a_page_that_is_opened_late_tells_the_release_by_its_decisions(
    server: ApiServer, looks: Iterator[None]
) -> None:
    until_promoted(server, looks)
    shown = page(ClusterReleases(cast(Api, server), namespace="ml"))
    assert '<h2>digits<span class="versions">1.0 → two</span></h2>' in shown
    for change in ("0 → 25 %", "25 → 50 %", "50 → 100 %", "Promoted"):
        assert f'<span class="what">{change}</span>' in shown
    assert "Mean latency" in shown


def test_pages_that_are_open_at_once_share_a_listing_and_a_word_is_seen_at_once(server: ApiServer) -> None:
    now = 0.0
    source = ClusterReleases(cast(Api, server), namespace="ml", clock=lambda: now)
    for _ in range(3):
        assert len(source.standings()) == 1
    assert server.listings == 1
    now = 1.5
    source.standings()
    assert server.listings == 2
    source.ask("digits", "pause")
    source.standings()
    assert server.listings == 3


def test_a_release_that_is_gone_is_forgotten_with_its_looks(
    server: ApiServer, world: World, looks: Iterator[None]
) -> None:
    source = ClusterReleases(cast(Api, server), namespace="ml", clock=lambda: world.now)
    for _ in range(6):
        next(looks)
        source.standings()
    server.gone, world.now = True, world.now + 5
    assert source.standings() == []
    server.gone, world.now = False, world.now + 5
    source.standings()
    kept = server.found["status"]["decisions"]
    [records] = source.story("digits").releases
    assert len(records) <= len(kept) + 1, "its decisions, and the look that is seen now"


def test_every_look_since_it_was_opened_is_drawn(server: ApiServer, world: World, looks: Iterator[None]) -> None:
    source = ClusterReleases(cast(Api, server), namespace="ml", clock=lambda: world.now)
    for _ in range(6):
        next(looks)
        source.standings()
    [records] = source.story("digits").releases
    assert len({record["canary"]["requests"] for record in records}) >= 2
    times = [record["time"] for record in records]
    assert times == sorted(times)
    assert "The last look" in page(source)


def test_a_new_release_forgets_the_looks_of_the_one_before(
    server: ApiServer, world: World, looks: Iterator[None]
) -> None:
    source = ClusterReleases(cast(Api, server), namespace="ml", clock=lambda: world.now)
    next(looks)
    for _ in range(10):
        next(looks)
        source.standings()
    server.found = {**server.found, "status": {}}
    server.merge(COLLECTION, {})
    world.now += 5
    source.standings()
    assert source.story("digits").releases == ()


def test_a_word_changes_the_spec_of_the_resource(server: ApiServer) -> None:
    source = ClusterReleases(cast(Api, server), namespace=None)
    for word in ("pause", "resume", "abort"):
        source.ask("ml/digits", word)
    paused, resumed, aborted = (each["spec"] for each in server.merged)
    assert paused == {"paused": True}
    assert (resumed["paused"], resumed["action"]["type"]) == (False, "resume")
    assert aborted["action"]["type"] == "abort"
    assert server.merged[0]["path"] == f"{COLLECTION}/digits"


def test_a_release_whose_spec_cannot_be_read_is_listed_with_its_last_look(
    server: ApiServer, looks: Iterator[None]
) -> None:
    next(looks)
    server.found = {**server.found, "spec": {"model": "digits"}}
    source = ClusterReleases(cast(Api, server), namespace=None)
    [standing] = source.standings()
    assert standing.newest
    assert (standing.name, standing.newest["reason"]) == ("ml/digits", "1.0 is stable")
    assert "ml/digits" in page(source)


def test_a_new_controller_says_nothing_about_what_is_at_rest(
    server: ApiServer, world: World, looks: Iterator[None]
) -> None:
    until_promoted(server, looks)
    next(looks)
    kept, log = server.found["status"]["decisions"], io.StringIO()
    next(looked(server, world, log))

    assert server.found["status"]["decisions"] == kept
    assert log.getvalue() == ""
