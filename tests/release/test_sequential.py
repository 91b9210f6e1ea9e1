"""The evidence of the policy `sequential`: fair where the canary is no worse, and quick where it is."""

import json
import re
from dataclasses import asdict, replace
from itertools import pairwise, product
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from release.conftest import make_spec
from release.playing import Play
from scipy.stats import binom

from torchfinch.handler.metrics import SECONDS
from torchfinch.release.controller import Tick
from torchfinch.release.decision.policies import judgement, odds, threshold
from torchfinch.release.decision.rules import grow
from torchfinch.release.decision.sequential import Event, gather, raised, together_in
from torchfinch.release.manifest.spec import Analysis
from torchfinch.release.simulation.simulate import simulate
from torchfinch.release.simulation.simulated import World
from torchfinch.release.simulation.traffic import Scenario
from torchfinch.release.state import LATENCY_EDGES, Bet, Counters, Evidence, Pair, Phase, State

SEQUENTIAL = Analysis.model_validate({"policy": "sequential"})


def won(bet: Bet, failed: int, requests: int, *, share: float, usual: float, together: float) -> float:
    """The factor by which a look multiplies the wealth."""
    after = raised(bet, Event(failed, requests, share, usual, together))
    return float(2.718281828459045 ** (after.log_wealth - bet.log_wealth))


@pytest.mark.parametrize("bet", [Bet(), Bet(gains=3, squares=4, events=12, looks=5), Bet(gains=-2, squares=9)])
@pytest.mark.parametrize(("canary", "stable", "rate"), list(product((1, 3, 8), (8, 20), (0.001, 0.05, 0.3, 0.9))))
def test_no_look_at_equal_versions_is_expected_to_win(bet: Bet, canary: int, stable: int, rate: float) -> None:
    """By enumeration of every outcome."""
    together = together_in(canary, stable, weight=10)
    expected = sum(
        binom.pmf(x, canary, rate) * binom.pmf(y, stable, rate)
        * won(bet, x, canary, share=y / stable, usual=rate / 2, together=together)
        for x in range(canary + 1)
        for y in range(stable + 1)
    )  # fmt: skip
    assert expected <= 1 + 1e-12


@pytest.mark.parametrize("rate", [0.001, 0.05, 0.3])
def test_errors_that_all_fail_together_win_nothing_either(rate: float) -> None:
    """Each version's whole look fails or none of it: equal rates, and nothing like independent requests."""
    for bet in (Bet(), Bet(gains=3, squares=4, events=12, looks=5)):
        expected = sum(
            (rate if x else 1 - rate) * (rate if y else 1 - rate)
            * won(bet, 10 * x, 10, share=float(y), usual=0.01, together=10)
            for x, y in product((0, 1), repeat=2)
        )  # fmt: skip
        assert expected <= 1 + 1e-12


@given(failed=st.integers(0, 19), share=st.floats(0, 0.9), more=st.floats(0, 0.1), usual=st.floats(0.001, 0.2))
def test_a_further_failure_never_lowers_the_evidence_and_one_of_stable_never_raises_it(
    failed: int, share: float, more: float, usual: float
) -> None:
    now = won(Bet(), failed, 20, share=share, usual=usual, together=20)
    assert won(Bet(), failed + 1, 20, share=share, usual=usual, together=20) >= now
    assert won(Bet(), failed, 20, share=share + more, usual=usual, together=20) <= now + 1e-12


@given(failed=st.integers(0, 20), share=st.floats(0, 1), usual=st.floats(0.001, 1))
def test_one_look_at_most_doubles_the_evidence(failed: int, share: float, usual: float) -> None:
    assert 0 < won(Bet(), failed, 20, share=share, usual=usual, together=20) < 2


@pytest.mark.parametrize("errors", ["single", "batches", "seconds"])
@pytest.mark.parametrize("weight", [10, 50])
def test_equal_versions_are_rolled_back_in_one_release_of_a_hundred_at_most(errors: Any, weight: int) -> None:
    """4,000 looks at most, and errors that come together; 400 releases, so up to 8 by chance."""
    scenario = Scenario(errors=errors, weight=weight, requests=5000)
    backs = {found.policy: found.back for found in simulate(scenario, releases=400, seed=1)}
    assert backs["sequential"] <= 8 / 400
    assert backs["required"] > 0.2


def test_five_times_the_errors_are_caught_within_250_canary_requests() -> None:
    found = {each.policy: each for each in simulate(Scenario(canary=0.05), releases=400, seed=0)}["sequential"]
    assert found.back == 1
    assert found.median
    assert found.median <= 250


def test_doubled_latency_is_caught_within_300_and_an_equal_one_or_a_fifth_more_is_tolerated() -> None:
    doubled, tolerated, equal = (
        {each.policy: each for each in simulate(Scenario(latency=latency), releases=100, seed=0)}["sequential"]
        for latency in (2.0, 1.19, 1.0)
    )
    assert doubled.median
    assert doubled.median <= 300
    assert tolerated.back <= 0.02
    assert equal.back <= 0.02


def played(look: int, *, seed: int, stable: float, canary: float) -> tuple[Phase, State]:
    """A release through the real decision."""
    random, world = Random(seed), World()
    controller = world.controller(make_spec(analysis={"policy": "sequential"}))
    while (tick := controller.tick()).outcome is None:
        world.serve(look, error_rate={"one": stable, "two": canary}, random=random)
        world.now += 1
    return tick.outcome, tick.decision.state


def doubtful(tick: Tick) -> bool:
    """Whether the evidence is much, and not enough."""
    return any(16 < (check.value or 0) < 100 for check in tick.decision.checks if check.unit == "odds")


def test_a_doubt_without_traffic_is_a_lack_of_progress_and_one_with_traffic_is_none(play: Play) -> None:
    steps = [{"weight": 25}]
    play.change(steps=steps, progressDeadline="10s", analysis={"policy": "sequential", "minRequests": 100})
    play.at_weight(25, requests=0)
    play.until(doubtful, 300, error_rate={"two": 0.1})
    for _ in range(3):
        for _ in range(9):
            play.tick()
        assert (play.phase, play.world.weight) == (Phase.PROGRESSING, 25)
        play.tick(20)
    assert play.phase is Phase.PROGRESSING
    assert play.ended(0) is Phase.ROLLED_BACK
    assert play.reason.startswith("no progress for 10 s: not forward yet: failing more than stable")


def test_a_doubt_is_held_while_answers_without_errors_come(play: Play) -> None:
    analysis = {"policy": "sequential", "minRequests": 100, "maxErrorRate": None}
    play.change(steps=[{"weight": 25}], progressDeadline="30s", analysis=analysis)
    play.at_weight(25, requests=0)
    for _ in range(2):
        play.tick(300, error_rate={"two": 0.04})
    for _ in range(40):
        play.tick(300)
    assert play.phase is Phase.PROGRESSING
    assert play.reason.startswith("not forward yet: failing more than stable")


def test_where_pods_are_the_weight_a_share_that_whole_pods_do_not_give_is_no_evidence(play: Play) -> None:
    steps = [{"weight": 25, "duration": "60s"}, {"weight": 50, "duration": "60s"}]
    play.change(route={"kind": "Replicas"}, steps=steps, progressDeadline="30s", analysis={"policy": "sequential"})
    play.at_weight(25, requests=0)
    while (tick := play.ticks[-1]).outcome is None:
        weight, play.world.weight = play.world.weight, min(play.world.weight + 15, 85)
        play.world.serve(250)
        play.world.weight = weight
        play.tick()
    assert tick.outcome is Phase.PROMOTED, play.reason


def test_requests_that_still_reach_stable_at_weight_100_hold_nothing(play: Play) -> None:
    play.change(steps=[{"weight": 100, "duration": "30s"}], analysis={"policy": "sequential"})
    play.at_weight(100, requests=0)
    for _ in range(3):
        play.world.counted["one"] = grow(play.world.counted["one"], Counters(requests=1))
        play.tick(250)
    assert play.ended(250) is Phase.PROMOTED


def test_a_person_who_skips_a_doubt_is_not_held_by_it_at_weight_100(play: Play) -> None:
    play.change(steps=[{"weight": 25}], analysis={"policy": "sequential", "minRequests": 100})
    play.at_weight(25, requests=0)
    play.until(doubtful, 300, error_rate={"two": 0.04})
    play.ask("skip")
    play.at_weight(100, requests=0)
    assert play.ended(250) is Phase.PROMOTED


@pytest.mark.parametrize("policy", ["required", "sequential"])
def test_a_canary_that_fails_beside_a_stable_without_requests_is_taken_back(play: Play, policy: str) -> None:
    play.change(steps=[{"weight": 25}, {"weight": 50}], analysis={"policy": policy}, progressDeadline="5s")
    play.at_weight(25, requests=0)
    while (tick := play.ticks[-1]).outcome is None:
        only_the_canary_answers(play, 100, 80)
    assert tick.outcome is Phase.ROLLED_BACK
    assert "limit" in play.reason
    assert max(tick.seen.weight or 0 for tick in play.ticks) <= 50


def only_the_canary_answers(play: Play, requests: int, errors: int) -> None:
    play.world.counted["two"] = grow(play.world.counted["two"], Counters(requests=requests, errors=errors))
    play.tick()


def test_a_doubt_beside_stable_ends_at_the_deadline_where_only_the_canary_answers(play: Play) -> None:
    analysis = {"policy": "sequential", "minRequests": 100, "maxErrorRate": 0.5}
    play.change(steps=[{"weight": 25}], progressDeadline="10s", analysis=analysis)
    play.at_weight(25, requests=0)
    play.until(doubtful, 300, error_rate={"two": 0.1})
    for _ in range(11):
        only_the_canary_answers(play, 20, 0)
    assert play.phase is Phase.ROLLING_BACK
    assert play.reason.startswith("no progress for 10 s: not forward yet: failing more than stable")


def test_a_release_ends_as_its_canary_deserves() -> None:
    """A worse one is not brought forward by few looks; an equal one is not stopped by them."""
    assert [played(250, seed=seed, stable=0.01, canary=0.01)[0] for seed in range(10)] == [Phase.PROMOTED] * 10
    assert [played(250, seed=seed, stable=0.01, canary=0.05)[0] for seed in range(10)] == [Phase.ROLLED_BACK] * 10


def test_the_reason_has_the_odds_and_the_counts() -> None:
    _, state = played(250, seed=0, stable=0.0, canary=0.1)
    assert re.match(
        r"failing more than stable: \d+ of \d+; stable 0 of \d+; 1 in [\d,]+ if both were equal, the limit is 1 in 143",
        state.reason,
    )


def test_a_state_with_evidence_survives_json_and_one_without_still_loads() -> None:
    _, state = played(250, seed=0, stable=0.0, canary=0.1)
    adapter = TypeAdapter(State)
    assert adapter.validate_json(adapter.dump_json(state)) == state
    old = json.loads(json.dumps(asdict(State())))
    del old["evidence"], old["total"]["canary"]["latency_buckets"]
    assert adapter.validate_python(old) == State()


def counted(requests: int, errors: int = 0, *, seconds: float = 0.01) -> Counters:
    buckets = (*(requests * (seconds <= edge) for edge in LATENCY_EDGES), requests)
    return grow(Counters(), Counters(requests=requests, errors=errors, latency_buckets=buckets))


def test_a_canary_slower_at_every_quantile_leaves_evidence() -> None:
    evidence, total = Evidence(), Pair()
    for _ in range(30):
        total = Pair(stable=grow(total.stable, counted(90)), canary=grow(total.canary, counted(10, seconds=0.02)))
        evidence = gather(evidence, total, analysis=SEQUENTIAL, weight=10, share=0.1)
    checks = {check.name: check for check in judgement(SEQUENTIAL, State(total=total, weight=10, evidence=evidence))}
    assert checks["slower than stable"].verdict == "fail"
    assert checks["failing more than stable"].verdict == "pass"


def test_a_split_other_than_the_weight_holds_the_release_and_does_not_blame_the_canary() -> None:
    evidence, total = Evidence(), Pair()
    for _ in range(60):
        total = Pair(stable=grow(total.stable, counted(50)), canary=grow(total.canary, counted(50)))
        evidence = gather(evidence, total, analysis=SEQUENTIAL, weight=10, share=0.1)
    checks = {check.name: check for check in judgement(SEQUENTIAL, State(total=total, weight=10, evidence=evidence))}
    assert checks["traffic not as weighted"].verdict == "hold"
    assert not [check for check in checks.values() if check.verdict == "fail"]


def test_a_look_without_answers_of_the_canary_changes_nothing() -> None:
    total = Pair(stable=counted(50))
    assert gather(Evidence(), total, analysis=SEQUENTIAL, weight=10, share=0.1) == Evidence()


def test_what_an_older_controller_had_compared_is_not_tested_by_the_limit_again() -> None:
    total = Pair(stable=counted(450), canary=counted(50, 5))
    now = gather(Evidence(), total, analysis=SEQUENTIAL, weight=10, share=0.1)
    older = replace(now, limited=None)
    assert gather(older, total, analysis=SEQUENTIAL, weight=10, share=0.1).bets == now.bets


def test_what_only_the_canary_answered_is_compared_later_and_tested_by_the_limit_once() -> None:
    alone = gather(Evidence(), Pair(canary=counted(50, 5)), analysis=SEQUENTIAL, weight=10, share=0.1)
    assert set(alone.bets) == {"limit"}
    both = gather(alone, Pair(stable=counted(450), canary=counted(50, 5)), analysis=SEQUENTIAL, weight=10, share=0.1)
    assert both.bets["failures"].events == both.bets["limit"].events == 5
    assert both.bets["limit"] == alone.bets["limit"]


def test_at_weight_100_only_the_limit_is_tested() -> None:
    evidence = gather(Evidence(), Pair(canary=counted(50, 5)), analysis=SEQUENTIAL, weight=100, share=1.0)
    assert set(evidence.bets) == {"limit"}


def test_alpha_is_split_between_the_claims_and_never_exceeded() -> None:
    claims = [check.name for check in judgement(SEQUENTIAL, State()) if check.unit == "odds"]
    assert len(claims) == 5
    assert sum(1 / threshold(SEQUENTIAL, claim) for claim in claims) <= SEQUENTIAL.alpha + 1e-12
    nothing = judgement(SEQUENTIAL, replace(State(), weight=10))
    assert {check.verdict for check in nothing if check.unit == "odds"} == {"skip"}


@pytest.mark.parametrize(
    ("value", "words"),
    [(1.0, "no evidence"), (5000, "1 in 5,000 if both were equal"), (1e12, "less than 1 in a b")],
)
def test_evidence_is_told_in_words(value: float, words: str) -> None:
    assert odds(value).startswith(words)


def test_the_edges_are_those_of_the_sdk_and_a_fifth_apart() -> None:
    assert LATENCY_EDGES == SECONDS
    assert all(high / low <= 1.21 for low, high in pairwise(LATENCY_EDGES))
