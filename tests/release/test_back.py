"""The way back: what the rule does, and what comes before it."""

from dataclasses import replace
from typing import Any

import pytest
from release.playing import Play

from torchfinch.release.adapters import Request
from torchfinch.release.state import Deploy, Phase

# --- the way back: the rule ---


@pytest.mark.parametrize(
    ("serving", "reason"),
    [
        (
            {"error_rate": {"two": 0.06, "one": 0.04}},
            "error rate: 6 % is over the limit of 5 % (6 of 100; stable 76 of 1900)",
        ),
        (
            {"error_rate": {"two": 0.03, "one": 0.01}},
            "error rate against stable: 3 % is over the limit of 2 %, 2 times stable's 1 % (3 of 100; stable 19 of ",
        ),
        (
            {"latency": {"two": 1.6, "one": 1.0}},
            "mean latency: 1600 ms is over the limit of 1500 ms (1600.0 ms in 100 answers; stable 1000.0 ms in 1900 ",
        ),
        (
            {"latency": {"two": 0.3, "one": 0.1}},
            "mean latency against stable: 300 ms is over the limit of 200 ms, 2 times stable's 100 ms (300.0 ms in ",
        ),
    ],
)
def test_a_canary_that_breaks_the_rule_is_rolled_back_at_a_hundred_requests(
    play: Play, serving: dict[str, Any], reason: str
) -> None:
    play.at_weight(5, requests=0)
    play.tick(1980, **serving)
    assert (play.phase, play.world.weight) == (Phase.PROGRESSING, 5)
    play.tick(20, **serving)
    assert (play.phase, play.world.weight) == (Phase.ROLLING_BACK, 0)
    assert play.reason.startswith(reason)
    assert play.ended(0) is Phase.ROLLED_BACK
    assert play.reason.startswith(reason)


def test_one_error_is_too_many_where_stable_has_none(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.tick(2000, error_rate={"two": 0.01})
    assert play.phase is Phase.ROLLING_BACK
    assert "1 of 100; stable 0 of 1900" in play.reason


def test_at_weight_100_only_the_absolute_limits_judge(play: Play) -> None:
    play.at_weight(100)
    play.tick(1000, error_rate={"two": 0.04}, latency={"two": 0.9})
    assert play.phase is Phase.PROMOTING
    assert {check.verdict for check in play.ticks[-1].decision.checks if "stable" in check.name} == {"skip"}


def test_at_weight_100_a_broken_absolute_limit_still_leads_back(play: Play) -> None:
    play.at_weight(100)
    play.tick(2000, latency={"two": 5})
    assert (play.phase, play.world.weight) == (Phase.ROLLING_BACK, 0)


def test_a_step_whose_own_requests_break_the_rule_is_not_left_forwards(play: Play) -> None:
    """A good past must not carry a canary that fails only under more load."""
    play.at_weight(5, requests=0, error_rate={"one": 0.02})
    play.tick(40_000, error_rate={"one": 0.02})
    play.at_weight(25)
    play.tick(400, error_rate={"one": 0.02, "two": 0.1})
    assert (play.phase, play.world.weight) == (Phase.PROGRESSING, 25)
    assert play.reason.startswith("not forward: step error rate: 10 % is over the limit of 5 %")
    play.tick(400 * 20, error_rate={"one": 0.02, "two": 0.1})
    assert (play.phase, play.world.weight) == (Phase.ROLLING_BACK, 0)


def test_a_canary_that_refuses_everything_does_not_pass(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.world.serve(2000)
    play.world.counted["two"] = replace(play.world.counted["two"], client_errors=100)
    play.tick()
    assert play.phase is Phase.ROLLING_BACK
    sizes = "(100 of 100; stable 0 of 1900)"
    assert play.reason == f"client errors against stable: 100 % is over the limit of 5 %, 5 % over stable's 0 % {sizes}"


@pytest.mark.parametrize("policy", ["required", "sequential"])
def test_a_canary_that_refuses_everything_does_not_pass_where_there_is_nothing_to_compare_with(
    play: Play, policy: str
) -> None:
    play.change(steps=[{"weight": 100}], analysis={"policy": policy})
    play.at_weight(100, requests=0)
    play.world.serve(200)
    play.world.counted["two"] = replace(play.world.counted["two"], client_errors=200)
    play.tick()
    assert play.phase is Phase.ROLLING_BACK
    assert play.reason.startswith("client errors: 100 % is over the limit of 50 % (200 of 200)")


def test_a_canary_that_begins_to_refuse_everything_at_weight_100_is_not_promoted(play: Play) -> None:
    play.change(analysis={"policy": "sequential"})
    play.at_weight(100)
    play.world.serve(200)
    play.world.counted["two"] = replace(play.world.counted["two"], client_errors=200)
    play.tick()
    assert play.phase is Phase.PROGRESSING
    assert play.reason.startswith("not forward: step client errors: 100 % is over the limit of 50 %")


# --- the way back: plain failure ---


def test_ten_failures_out_of_ten_are_enough(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.tick(9 * 20, error_rate={"two": 1.0})
    assert (play.phase, play.world.weight) == (Phase.PROGRESSING, 5)
    play.tick(20, error_rate={"two": 1.0})
    assert (play.phase, play.world.weight) == (Phase.ROLLING_BACK, 0)
    assert play.reason == "all of the canary's first 10 requests failed"


def test_a_canary_without_an_endpoint_leads_back_even_while_paused(play: Play) -> None:
    play.at_weight(25)
    play.world.asked = Request(paused=True)
    play.tick()
    assert play.phase is Phase.PAUSED
    play.world.lose("canary")
    play.tick()
    assert (play.phase, play.world.weight) == (Phase.ROLLING_BACK, 0)


def test_ten_failures_out_of_ten_lead_back_even_while_paused(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.world.asked = Request(paused=True)
    play.tick(10 * 20, error_rate={"two": 1.0})
    assert (play.phase, play.world.weight) == (Phase.ROLLING_BACK, 0)
    assert play.reason == "all of the canary's first 10 requests failed"


@pytest.mark.parametrize(
    "reason", ["the canary has no ready endpoint at weight 5", "all of the canary's first 10 requests"]
)
def test_a_plain_failure_leads_back_though_the_route_is_not_taken_up_yet(play: Play, reason: str) -> None:
    play.until(lambda tick: tick.decision.state.weight == 5)
    play.world.synced = False
    play.tick()
    assert play.reason == "the route with weight 5 is not taken up yet"
    if "endpoint" in reason:
        play.world.lose("canary")
    play.tick(10 * 20, error_rate={"two": 1.0})
    assert (play.phase, play.world.weight) == (Phase.ROLLING_BACK, 0)
    assert play.reason.startswith(reason)


def test_an_unknown_readiness_is_no_failure_and_no_pass(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.world.canary = replace(play.world.canary, ready=None)
    play.tick(5000)
    assert (play.phase, play.world.weight) == (Phase.PROGRESSING, 5)


def test_a_canary_that_cannot_start_never_gets_traffic(play: Play) -> None:
    play.world.unable.add("two")
    assert play.ended() is Phase.ROLLED_BACK
    assert play.reason == "the canary could not be started: will not start"
    assert not any(tick.seen.weight for tick in play.ticks)


# --- stable ---


def test_why_a_release_was_rolled_back_stays_to_be_read_when_stable_is_lost(play: Play) -> None:
    play.ended(error_rate={"two": 1.0})
    why = play.reason
    play.world.lose("stable")
    play.world.broken.add("deploy")
    play.tick()
    assert (play.phase, play.reason) == (Phase.ROLLED_BACK, why)
    assert "stable has no ready endpoint" in play.notes


def test_the_canary_of_an_ended_release_goes_after_a_while_and_not_before(play: Play) -> None:
    play.change(scaleDownDelay="3s")
    play.ended()
    assert play.world.canary.running
    for _ in range(5):
        play.tick()
    assert not play.world.canary.running
    assert play.world.stable.running


@pytest.mark.parametrize(("delay", "runs"), [("0s", False), (None, True)])
def test_a_canary_goes_at_once_without_a_delay_and_never_where_there_is_none(
    play: Play, delay: str | None, runs: bool
) -> None:
    play.change(scaleDownDelay=delay)
    play.ended()
    play.tick()
    assert play.world.canary.running is runs
    play.world.now += 10_000
    play.tick()
    assert play.world.canary.running is runs
    assert play.world.stable.running


def test_a_weight_that_the_route_has_not_taken_up_does_not_count(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.world.synced = False
    play.world.offered = "three"
    for _ in range(3):
        play.tick(1000)
    assert (play.world.weight, play.reason) == (0, "the route with weight 0 is not taken up yet")
    play.world.synced = True
    play.at_weight(5)


@pytest.mark.parametrize("weight", [5, 25])
def test_without_stable_nothing_moves_but_stable_is_brought_back(play: Play, weight: int) -> None:
    play.at_weight(weight)
    play.world.lose("stable")
    play.world.broken.add("deploy")
    play.tick(2000, error_rate={"two": 1.0})
    assert (play.world.weight, play.reason) == (
        weight,
        f"stable has no ready endpoint: holding the canary at weight {weight}",
    )
    assert [type(act) for act in play.ticks[-1].decision.actions] == [Deploy]
    play.world.broken.clear()
    play.tick()
    play.tick()
    assert play.phase is Phase.ROLLING_BACK


def test_an_abort_waits_for_stable(play: Play) -> None:
    play.at_weight(25)
    play.world.stable = replace(play.world.stable, ready=0)
    play.ask("abort")
    play.tick()
    assert play.world.weight == 25
    play.world.stable = replace(play.world.stable, ready=1)
    play.tick()
    assert (play.phase, play.world.weight) == (Phase.ROLLING_BACK, 0)


def test_an_unhealthy_stable_does_not_block_the_way_forward(play: Play) -> None:
    play.at_weight(25)
    play.world.stable = replace(play.world.stable, ready=0)
    play.ask("promote")
    assert play.ended() is Phase.PROMOTED
    assert play.world.stable.digest == "two"
