"""A copy of stable that is loaded like the canary: it gets as much traffic, and only its latency is compared."""

from dataclasses import replace

import pytest
from release.playing import Play

from torchfinch.release.adapters import Request
from torchfinch.release.decision.baseline import baseline_share
from torchfinch.release.state import Arm, Phase

BASELINE = {"deployment": "digits-baseline"}
UNEQUAL = {"one": 0.01, "two": 0.03, "baseline": 0.03}
"""Mean seconds: at little load every version is slower, for a batch waits until it is full."""


@pytest.fixture
def beside(play: Play) -> Play:
    """A release whose baseline has not been started yet."""
    play.change(route={"kind": "HTTPRoute", "name": "digits"}, baseline=BASELINE, progressDeadline="60s")
    play.world.baseline = Arm()
    return play


def test_it_is_started_with_the_version_of_stable_before_the_first_weight(beside: Play) -> None:
    beside.until(lambda tick: tick.decision.state.weight == 5)
    said = [tick.decision.state.reason for tick in beside.ticks]
    assert said.index("starting the canary") < said.index("starting the baseline") < said.index("the canary is ready")
    baseline = beside.world.baseline
    assert baseline
    assert (baseline.digest, baseline.ready) == ("one", 1)


@pytest.mark.parametrize(("weight", "share"), [(5, 5), (25, 25), (50, 50), (100, 0)])
def test_it_has_the_weight_of_the_canary_while_both_fit(beside: Play, weight: int, share: int) -> None:
    beside.at_weight(weight)
    assert beside.world.baseline_weight == share


@pytest.mark.parametrize(("weight", "mirror", "share"), [(0, 0, 0), (60, 0, 40), (0, 30, 30), (0, 100, 50)])
def test_its_share_is_what_is_left_at_most(weight: int, mirror: int, share: int) -> None:
    assert baseline_share(weight=weight, mirror=mirror) == share


def test_a_canary_that_is_slower_than_a_busier_stable_alone_is_promoted(beside: Play) -> None:
    assert beside.ended(latency=UNEQUAL) is Phase.PROMOTED
    assert beside.world.baseline_weight == 0


def test_without_it_the_same_canary_is_taken_back(play: Play) -> None:
    assert play.ended(latency=UNEQUAL) is Phase.ROLLED_BACK


def test_a_canary_slower_than_it_is_taken_back_though_stable_is_as_slow(beside: Play) -> None:
    assert beside.ended(latency={"one": 0.03, "two": 0.03, "baseline": 0.01}) is Phase.ROLLED_BACK
    assert "mean latency against stable: 30 ms is over the limit of 20 ms" in beside.reason


def test_errors_are_compared_with_those_of_stable_and_it_together(beside: Play) -> None:
    beside.at_weight(5, requests=0)
    beside.tick(2000, error_rate={"one": 0.02, "two": 0.02, "baseline": 0.0})
    total = beside.ticks[-1].decision.state.total.stable
    assert (total.requests, total.errors, total.latency_count) == (1900, 36, 100)


def test_copies_of_requests_are_compared_with_as_many_of_it(beside: Play) -> None:
    beside.spec = beside.spec.model_copy(update={"shadow": beside.make_spec(shadow={"percent": 40}).shadow})
    beside.until(lambda tick: tick.decision.state.mirror > 0 and tick.decision.state.verified, 1000)
    assert (beside.world.mirror, beside.world.baseline_weight) == (40, 40)


def test_one_that_is_lost_gives_its_traffic_to_stable_at_once_and_the_weight_is_held(beside: Play) -> None:
    beside.at_weight(25, requests=1000)
    beside.world.lose("baseline")
    beside.world.asked = Request(paused=True)
    beside.tick()
    assert (beside.world.weight, beside.world.baseline_weight) == (25, 0)
    assert beside.notes == "the baseline cannot answer as stable does: its traffic goes to stable"
    beside.world.asked = Request()
    beside.world.unable.add("one")
    for _ in range(20):
        beside.tick(1000)
    assert (beside.phase, beside.world.weight) == (Phase.PROGRESSING, 25)
    beside.world.unable.clear()
    assert beside.ended() is Phase.PROMOTED


def test_one_that_stays_lost_ends_the_release_at_the_deadline(beside: Play) -> None:
    beside.world.unable.add("one")
    assert beside.ended() is Phase.ROLLED_BACK
    assert beside.reason == "no progress for 60 s: starting the baseline"
    assert all(tick.decision.state.weight == 0 for tick in beside.ticks)


def test_a_weight_lowered_by_hand_stays_when_it_is_lost(beside: Play) -> None:
    beside.at_weight(25, requests=1000)
    beside.world.weight = 10
    beside.tick()
    assert (beside.phase, beside.world.baseline_weight) == (Phase.PAUSED, 10)
    beside.world.lose("baseline")
    beside.tick()
    assert (beside.world.weight, beside.world.baseline_weight) == (10, 0)


def test_one_that_still_runs_the_version_before_gets_nobody(beside: Play) -> None:
    beside.at_weight(25, requests=1000)
    baseline = beside.world.baseline
    assert baseline
    beside.world.baseline = replace(baseline, digest="zero")
    beside.world.broken.add("deploy")
    beside.tick()
    assert beside.world.baseline_weight == 0


def test_one_that_is_lost_when_the_canary_has_all_traffic_is_missed_by_nobody(beside: Play) -> None:
    beside.at_weight(100, requests=1000)
    beside.world.lose("baseline")
    beside.world.unable.add("one")
    assert beside.ended() is Phase.PROMOTED


def test_a_deployment_or_service_of_another_version_is_no_baseline(beside: Play) -> None:
    versions = {
        "stable": {"deployment": "s"},
        "canary": {"deployment": "c"},
        "route": {"kind": "HTTPRoute", "name": "r"},
    }
    for baseline in ({"deployment": "s"}, {"deployment": "s", "service": "b"}, {"deployment": "b", "service": "c"}):
        with pytest.raises(ValueError, match="of its own"):
            beside.make_spec(**versions, baseline=baseline)


def test_it_ends_with_the_canary(beside: Play) -> None:
    beside.ended()
    for _ in range(40):
        beside.tick()
    baseline = beside.world.baseline
    assert baseline
    assert not baseline.running
    assert not beside.world.canary.running


def test_the_next_release_has_the_new_version_of_stable_as_its_baseline(beside: Play) -> None:
    beside.ended()
    beside.world.offered = "three"
    beside.at_weight(5)
    baseline = beside.world.baseline
    assert baseline
    assert baseline.digest == "two"
