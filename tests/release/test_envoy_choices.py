"""Copies of requests and forced versions, with a real Envoy in front of real HTTP servers."""

import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from release.helpers import Release, release

from torchfinch.release.history import read_history
from torchfinch.release.state import Counters, Phase

pytestmark = pytest.mark.slow
FORCE = {"header": "x-version", "cookie": "version"}


def counted(it: Release) -> tuple[Counters, Counters]:
    """What Envoy counted for stable and canary."""
    time.sleep(1.2)  # histograms are brought up to date every half second
    reading = it.read()
    [stable], [canary] = reading.stable.values(), reading.canary.values()
    return stable, canary


def answers_of(it: Release, **request: dict[str, str]) -> set[str]:
    """Who answers thirty requests."""
    with httpx.Client() as client:
        return {client.post(it.url, content=b"who", **request).headers["served-by"] for _ in range(30)}  # type: ignore[arg-type]


def test_users_of_a_shadow_phase_get_stables_answers_and_the_canary_answers_copies(tmp_path: Path) -> None:
    with release(tmp_path, "failing 2", shadow={"minRequests": 10_000}, steps=[{"weight": 50}]) as it:
        it.run(until=lambda tick: tick.decision.state.phase is Phase.SHADOWING and tick.decision.state.verified)
        with httpx.Client() as client:
            statuses = {client.post(it.url, content=b"x").status_code for _ in range(50)}
        stable, canary = counted(it)
        users = answers_of(it)
        envoy = it.router.envoy
        envoy.set_routing(replace(envoy.routing(), mirrored={"b": 20}))
        before = counted(it)[1].requests
        for _ in range(5):
            answers_of(it)
        part = counted(it)[1].requests - before

    assert statuses == {200}
    assert users == {"good"}
    assert (stable.requests, stable.errors) == (50, 0)
    assert (canary.requests, canary.errors) == (50, 10)
    assert canary.latency_count == canary.latency_buckets[-1] == 50
    assert canary.mean_latency is not None
    assert 5 <= part <= 80, "of 150 requests"


@pytest.mark.parametrize(("canary", "outcome"), [("good 2", Phase.PROMOTED), ("failing 2", Phase.ROLLED_BACK)])
def test_a_shadow_phase_is_left_for_the_first_step_or_for_nothing(tmp_path: Path, canary: str, outcome: Phase) -> None:
    with release(tmp_path, canary, shadow={"percent": 50}) as it, it.traffic() as statuses:
        it.run()
        shown = [(line["phase"], line["weight"]) for line in read_history(it.store.history)]

        assert it.router.envoy.routing().mirrored == {"a": 0, "b": 0}
    assert it.phase is outcome
    assert ("Shadowing", 0) in shown
    assert set(statuses) == {200}
    assert outcome is Phase.PROMOTED or not any(weight for _, weight in shown)


def test_requests_choose_their_version_while_the_canary_has_a_weight(tmp_path: Path) -> None:
    with release(tmp_path, "odd 2", force=FORCE) as it:
        assert answers_of(it, headers={"x-version": "canary"}) == {"good"}, "there is no canary yet"
        it.run_to_weight(5)

        assert answers_of(it, headers={"x-version": "canary"}) == {"odd"}
        assert answers_of(it, headers={"x-version": "stable"}) == {"good"}
        assert answers_of(it, headers={"cookie": "a=1; version=canary; b=2"}) == {"odd"}
        assert answers_of(it, headers={"cookie": "version=stable"}) == {"good"}
        assert answers_of(it, headers={"cookie": "my-version=canary-ish"}) >= {"good"}
        assert counted(it)[1].requests < 30, "a forced request is nobody's evidence"

        it.store.ask("abort")
        it.run()
        assert answers_of(it, headers={"x-version": "canary"}) == {"good"}


def test_a_choice_follows_the_roles_through_a_promotion(tmp_path: Path) -> None:
    with release(tmp_path, "good 2", force=FORCE) as it:
        it.run_to_weight(5)
        it.store.ask("promote")
        it.run()
        assert it.router.envoy.routing().forced == {"stable": "b"}
        assert httpx.post(it.url, content=b"x", headers={"x-version": "stable"}).status_code == 200
