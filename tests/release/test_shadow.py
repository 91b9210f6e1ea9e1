"""The phase in which the canary gets copies of requests, and no user."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from release.playing import Play

from torchfinch.release.adapters import Request
from torchfinch.release.decision.drift import drift, stability_index
from torchfinch.release.exposition import samples
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.predicted import predicted
from torchfinch.release.simulation.replay import replay
from torchfinch.release.state import Counters, Pair, Phase

SHADOW: dict[str, Any] = {"percent": 50, "minRequests": 40}


@pytest.fixture
def shadowed(play: Play) -> Play:
    """A release whose copies have begun."""
    play.change(shadow=SHADOW)
    play.until(lambda tick: tick.decision.state.mirror > 0 and tick.decision.state.verified)
    return play


def test_copies_come_first_and_then_every_step(play: Play) -> None:
    play.change(shadow=SHADOW)
    assert play.ended() is Phase.PROMOTED
    seen = [(tick.decision.state.phase, tick.seen.weight, tick.seen.mirror) for tick in play.ticks]
    assert (Phase.SHADOWING, 0, 50) in seen
    assert not [each for each in seen if each[1] and each[2]], "copies beside a weight"
    assert [weight for weight in dict.fromkeys(each[1] for each in seen) if weight] == [5, 25, 50, 100]


def test_the_first_weight_waits_for_the_copies(shadowed: Play) -> None:
    shadowed.tick(78)
    assert (shadowed.phase, shadowed.world.weight) == (Phase.SHADOWING, 0)
    assert shadowed.reason == "39 of 40 copied requests"
    shadowed.tick(2)
    assert (shadowed.phase, shadowed.world.weight, shadowed.world.mirror) == (Phase.SHADOWING, 0, 0)
    assert shadowed.reason == "40 copied requests keep the limits"
    shadowed.tick()
    assert (shadowed.phase, shadowed.world.weight, shadowed.world.mirror) == (Phase.PROGRESSING, 5, 0)


def test_the_phase_may_last_at_least_a_while(play: Play) -> None:
    play.change(shadow={**SHADOW, "duration": "5s"})
    play.until(lambda tick: tick.decision.state.mirror > 0 and tick.decision.state.verified)
    play.tick(1000)
    assert (play.phase, play.reason) == (Phase.SHADOWING, "1 of 5 s at weight 0")
    play.until(lambda tick: tick.decision.state.weight == 5)


def test_copies_are_no_users_numbers(shadowed: Play) -> None:
    shadowed.tick(100, error_rate={"one": 0.1, "two": 0.02})
    assert shadowed.world.mirror == 0
    late = shadowed.world.counted["two"]
    shadowed.world.counted["two"] = replace(late, requests=late.requests + 7, errors=late.errors + 7)
    shadowed.tick()
    total = shadowed.ticks[-1].decision.state.total
    assert (shadowed.world.weight, total) == (5, Pair()), "nor are those that were answered late"
    shadowed.tick(20)
    shadowed.tick(100)
    assert shadowed.ticks[-1].decision.state.total.canary.requests == 5 + 1


@pytest.mark.parametrize(
    ("serving", "reason"),
    [
        ({"error_rate": {"two": 0.1, "one": 0.08}}, "error rate: 10 % is over the limit of 5 %"),
        ({"latency": {"two": 0.9, "one": 0.1}}, "mean latency against stable: 900 ms"),
        ({"error_rate": {"two": 1.0}}, "all of the canary's first 50 requests failed"),
    ],
)
def test_a_canary_that_is_worse_on_copies_gets_no_user(shadowed: Play, serving: dict[str, Any], reason: str) -> None:
    shadowed.tick(100, **serving)
    assert shadowed.phase is Phase.ROLLING_BACK
    assert shadowed.reason.startswith(reason)
    assert shadowed.ended(0) is Phase.ROLLED_BACK
    assert (shadowed.world.weight, shadowed.world.mirror) == (0, 0)
    assert not any(tick.seen.weight for tick in shadowed.ticks)


def test_the_policy_sequential_judges_copies_too(play: Play) -> None:
    play.change(shadow={"minRequests": 10_000}, analysis={"policy": "sequential"})
    assert play.ended(50, error_rate={"one": 0.02, "two": 0.3}) is Phase.ROLLED_BACK
    assert play.reason.startswith("failing more than stable")
    assert not any(tick.seen.weight for tick in play.ticks)


def test_a_canary_that_ends_amid_the_copies_is_taken_back(shadowed: Play) -> None:
    shadowed.world.lose("canary")
    shadowed.tick()
    assert (shadowed.phase, shadowed.world.mirror) == (Phase.ROLLING_BACK, 0)


def test_a_canary_that_answers_no_copy_is_taken_back_at_the_deadline(play: Play) -> None:
    play.change(shadow=SHADOW, progressDeadline="20s")
    assert play.ended(0) is Phase.ROLLED_BACK
    assert play.reason == "no progress for 20 s: 0 of 40 copied requests"


def test_a_pause_keeps_the_copies_and_goes_on_with_them(shadowed: Play) -> None:
    shadowed.world.asked = Request(paused=True)
    shadowed.tick(1000)
    assert (shadowed.phase, shadowed.world.mirror) == (Phase.PAUSED, 50)
    shadowed.world.asked = Request()
    shadowed.tick()
    shadowed.tick()
    assert (shadowed.phase, shadowed.world.weight) == (Phase.PROGRESSING, 5)


@pytest.mark.parametrize(("action", "weight"), [("skip", 5), ("abort", 0)])
def test_a_person_ends_the_phase(shadowed: Play, action: str, weight: int) -> None:
    shadowed.ask(action)
    shadowed.tick()
    shadowed.tick()
    assert (shadowed.world.weight, shadowed.world.mirror) == (weight, 0)


def test_a_person_may_promote_amid_the_copies(shadowed: Play) -> None:
    shadowed.ask("promote")
    assert shadowed.ended(0) is Phase.PROMOTED
    assert shadowed.world.mirror == 0


def test_a_phase_taken_out_of_the_manifest_ends(shadowed: Play) -> None:
    shadowed.change()
    shadowed.tick()
    shadowed.tick()
    assert (shadowed.world.weight, shadowed.world.mirror) == (5, 0)


def test_a_router_that_lost_the_mirror_gets_it_back(shadowed: Play) -> None:
    shadowed.world.mirror = 0
    shadowed.tick(1000)
    assert (shadowed.phase, shadowed.world.weight, shadowed.world.mirror) == (Phase.SHADOWING, 0, 50)


def test_a_mirror_that_nobody_wants_is_taken_away(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.world.mirror = 100
    play.tick()
    assert (play.world.weight, play.world.mirror) == (5, 0)
    play.ended()
    play.world.mirror = 100
    play.tick()
    assert play.world.mirror == 0


@pytest.mark.parametrize("policy", ["required", "sequential"])
def test_a_shadow_phase_replays_to_the_same_decisions(play: Play, policy: str) -> None:
    play.change(shadow=SHADOW, analysis={"policy": policy})
    assert play.ended() is Phase.PROMOTED
    assert all(turn.same for turn in replay(play.world.history))


@pytest.mark.parametrize(("turns", "weight"), [(0, 0), (2, 0), (3, 5)], ids=["begun", "ended", "first weight"])
def test_a_successor_takes_over_and_counts_no_copy_as_a_user(play: Play, turns: int, weight: int) -> None:
    """The router was set, and then the state was not written."""
    play.change(shadow=SHADOW)
    play.until(lambda _: bool(play.world.canary.ready))
    for _ in range(turns):
        play.tick(100)
    saved = play.world.written
    play.tick(100)
    play.world.written = saved
    play.controller = play.world.controller(lambda: play.spec)
    tick = play.tick(20)
    assert tick.decision.notes[0].startswith(f"took over at weight {weight}")
    assert (play.world.weight, tick.decision.state.total) == (tick.decision.state.weight, Pair())
    assert play.ended() is Phase.PROMOTED


def test_shadow_needs_a_router_that_can_copy(make_spec: Callable[..., Spec]) -> None:
    with pytest.raises(ValueError, match=r"shadow and force need route\.kind Envoy or HTTPRoute, not VirtualService"):
        make_spec(shadow={}, route={"kind": "VirtualService", "name": "r"})


# --- what both versions predict ---


def sample(random: Random, shares: list[float], count: int) -> tuple[int, ...]:
    drawn = random.choices(range(len(shares)), shares, k=count)
    return tuple(drawn.count(number) for number in range(len(shares)))


def test_samples_of_one_distribution_seldom_drift_however_small_they_are() -> None:
    random, shares = Random(1), [0.3, 0.2, 0.1, *[0.4 / 7] * 7]
    for sizes in ((100, 100), (100, 1000), (1000, 1000)):
        pairs = [(sample(random, shares, sizes[0]), sample(random, shares, sizes[1])) for _ in range(200)]
        over = sum((stability_index(*pair) or 0.0) > 0.2 for pair in pairs)
        assert over <= 4, sizes


def test_another_distribution_drifts() -> None:
    random = Random(2)
    moved = sample(random, [0.7, 0.1, 0.1, 0.1], 400), sample(random, [0.25] * 4, 400)
    assert (stability_index(*moved) or 0.0) > 0.2
    collapsed = sample(random, [0.1] * 10, 100), (100, *[0] * 9)
    assert (stability_index(*collapsed) or 0.0) > 1


def test_without_predictions_there_is_no_drift_to_judge() -> None:
    assert stability_index((), ()) is None
    assert stability_index((3, 4), (0, 0)) is None
    assert {check.verdict for check in drift(Pair(), 0.2, told=False)} == {"skip"}


def test_predictions_that_are_late_are_waited_for(shadowed: Play) -> None:
    predict(shadowed, "one", (48, 52), (0, 10, 100, 100))
    predict(shadowed, "two", (3, 3), (0, 1, 6, 6))
    shadowed.tick(200)
    assert (shadowed.phase, shadowed.world.mirror) == (Phase.SHADOWING, 50)
    assert shadowed.reason.startswith("class drift: only 6 predictions; stable 100; confidence drift: ")
    predict(shadowed, "two", (52, 48), (0, 12, 100, 100))
    shadowed.tick()
    assert shadowed.world.mirror == 0


def test_drift_may_be_switched_off_and_is_still_shown() -> None:
    pair = Pair(stable=Counters(classes=(100, 0)), canary=Counters(classes=(0, 100)))
    [check, _] = drift(pair, None, told=True)
    assert (check.name, check.verdict, check.limit) == ("class drift", "skip", None)
    assert (check.value or 0) > 1


def test_a_canary_that_predicts_otherwise_on_the_same_requests_gets_no_user(shadowed: Play) -> None:
    predict(shadowed, "one", (50, 50))
    predict(shadowed, "two", (100, 0))
    shadowed.tick(100)
    assert shadowed.phase is Phase.ROLLING_BACK
    assert shadowed.reason.startswith("class drift: ")
    assert "is over the limit of 0.2 (100 predictions; stable 100)" in shadowed.reason


def test_a_canary_that_is_less_sure_gets_no_user(shadowed: Play) -> None:
    predict(shadowed, "one", (), (0, 10, 100, 100))
    predict(shadowed, "two", (), (90, 100, 100, 100))
    shadowed.tick(100)
    assert shadowed.reason.startswith("confidence drift: ")


def test_a_canary_that_predicts_alike_goes_on(shadowed: Play) -> None:
    predict(shadowed, "one", (48, 52), (0, 10, 100, 100))
    predict(shadowed, "two", (52, 48), (0, 12, 100, 100))
    shadowed.tick(100)
    verdicts = {check.name: check.verdict for check in shadowed.ticks[-1].decision.checks}
    shadowed.tick()
    assert shadowed.world.weight == 5
    assert (verdicts["class drift"], verdicts["confidence drift"]) == ("pass", "pass")


PAGE = """
torchfinch_predictions_total{model="digits",version="1.0",class="3",Hostname="vm",} 1.0
torchfinch_predictions_total{model="digits",version="1.0",class="7",Hostname="vm",} 3.0
torchfinch_predictions_total{model="digits",version="1.0",class="57",Hostname="vm",} 2.0
torchfinch_confidence_bucket{model="digits",version="1.0",le="0.95",Hostname="vm",} 2.0
torchfinch_confidence_bucket{model="digits",version="1.0",le="1",Hostname="vm",} 6.0
torchfinch_confidence_bucket{model="digits",version="1.0",le="+Inf",Hostname="vm",} 6.0
torchfinch_confidence_count{model="digits",version="1.0",Hostname="vm",} 6.0
"""


def test_predictions_are_read_from_a_servers_page() -> None:
    classes, confidences = predicted(samples(PAGE))
    assert {number: count for number, count in enumerate(classes) if count} == {3: 1, 7: 5}
    assert confidences[-3:] == (2, 6, 6)
    assert len(confidences) == 21


def test_a_page_without_predictions_tells_none() -> None:
    assert predicted(samples("ts_inference_requests_total 4.0\n")) == ((), ())


def predict(play: Play, digest: str, classes: tuple[int, ...], confidences: tuple[int, ...] = ()) -> None:
    known = play.world.counted.get(digest, Counters())
    play.world.counted[digest] = replace(known, classes=classes, confidences=confidences)
