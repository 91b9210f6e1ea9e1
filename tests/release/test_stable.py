"""The stable version while others release: a promotion that takes its time, an undo, a change by hand, no counts."""

from dataclasses import replace
from typing import Any

import pytest
from release.hooks import hook
from release.playing import Play

from torchfinch.release.manifest.spec import Spec
from torchfinch.release.simulation.replay import replay
from torchfinch.release.state import Arm, Counters, Pair, Phase, Reading
from torchfinch.release.view import is_decision


@pytest.fixture
def cluster(play: Play) -> Play:
    """A release whose stable takes the canary's version with servers of its own, none of which is ready at first."""
    world = play.world

    def promote(spec: Spec, digest: str) -> None:
        if world.stable.digest != digest:
            world.stable = replace(world.canary, ready=0, lacks="0 of 2 pods are")

    world.promote = promote  # type: ignore[method-assign]
    play.change(progressDeadline="30s")
    return play


def promoting(play: Play) -> None:
    play.until(lambda tick: tick.decision.state.phase is Phase.PROMOTING, 1000)


# --- a promotion ---


def test_traffic_goes_back_only_when_all_of_stable_is_ready(cluster: Play) -> None:
    promoting(cluster)
    for ready in (0, 0, 1):
        cluster.tick(1000)
        cluster.world.stable = replace(cluster.world.stable, ready=ready)
        assert (cluster.phase, cluster.world.weight) == (Phase.PROMOTING, 100)
    cluster.world.stable = replace(cluster.world.stable, ready=2, lacks="")
    cluster.tick(1000)
    assert (cluster.phase, cluster.reason, cluster.world.weight) == (Phase.PROMOTED, "two is stable now", 0)


def test_a_canary_that_is_lost_meanwhile_leaves_its_users_to_what_there_is_of_stable(cluster: Play) -> None:
    promoting(cluster)
    cluster.tick()
    cluster.world.stable = replace(cluster.world.stable, ready=1, lacks="1 of 2 pods are")
    cluster.world.lose("canary")
    cluster.tick()
    assert (cluster.phase, cluster.world.weight) == (Phase.PROMOTED, 0)


def test_an_abort_amid_a_promotion_brings_stable_back_to_its_version(cluster: Play) -> None:
    promoting(cluster)
    cluster.tick()
    cluster.world.stable = replace(cluster.world.stable, ready=1, lacks="1 of 2 pods are")
    cluster.ask("abort")
    assert cluster.ended(0) is Phase.ROLLED_BACK
    assert (cluster.world.stable.digest, cluster.reason) == ("one", "a person asked to abort")


@pytest.mark.parametrize("stable", [{"ready": 0}, {"ready": 1, "digest": "", "lacks": "1 of 2 pods are"}])
def test_a_promotion_that_hangs_is_told_once_and_users_stay_served_by_the_canary(
    cluster: Play, stable: dict[str, Any]
) -> None:
    with hook() as chat:
        cluster.change(progressDeadline="30s", notify={"webhook": chat.url})
        promoting(cluster)
        cluster.world.promote = lambda spec, digest: None  # type: ignore[method-assign]  # noqa: ARG005
        cluster.world.stable = replace(cluster.world.stable, **stable)
        for _ in range(60):
            cluster.tick(1000)
            assert (cluster.phase, cluster.world.weight) == (Phase.PROMOTING, 100)
            assert cluster.world.canary.ready
        cluster.controller.finish()
    late = "two has all traffic and keeps it: stable is not ready with it after 30 s"
    assert cluster.reason.startswith(late)
    lines = cluster.world.history
    news = [line for line, before in zip(lines, [None, *lines], strict=False) if is_decision(line, before)]
    assert sum(late in "; ".join(line["notes"]) for line in news) == 1
    assert sum(late in body["text"] for body in chat.bodies) == 1
    cluster.world.stable = replace(cluster.world.canary, lacks="")
    cluster.tick()
    assert cluster.phase is Phase.PROMOTED
    assert all(turn.same for turn in replay(lines))


# --- by hand ---


def undo(play: Play) -> None:
    """What `kubectl rollout undo` of stable's Deployment does after a promotion."""
    play.world.stable = Arm(digest="one", label="1.0", running=True, ready=1)
    play.world.canary = Arm(digest="two", label="two", running=True, ready=1)
    play.tick()


def test_a_promotion_that_is_undone_by_hand_is_told_and_retry_releases_the_version_again(play: Play) -> None:
    play.ended(error_rate={"one": 0.01})
    undo(play)
    assert (play.phase, play.reason) == (
        Phase.ROLLED_BACK, "1.0 is stable, by hand; retry releases what was promoted again",
    )  # fmt: skip
    assert play.ticks[-1].decision.state.total.stable.errors > 0, "counts go with their versions"
    for _ in range(5):
        play.tick(1000)
    assert (play.phase, play.world.weight) == (Phase.ROLLED_BACK, 0)
    play.ask("retry")
    assert play.ended() is Phase.PROMOTED
    assert play.world.stable.digest == "two"


def test_a_promotion_that_is_undone_by_hand_is_released_again_when_it_is_offered_again(play: Play) -> None:
    play.ended()
    undo(play)
    play.world.offered = "one"
    play.tick()
    play.world.offered = "two"
    assert play.ended() is Phase.PROMOTED


@pytest.mark.parametrize("phase", [Phase.PROGRESSING, Phase.SHADOWING, Phase.PAUSED])
def test_another_stable_version_amid_a_release_makes_the_counting_begin_anew(play: Play, phase: Phase) -> None:
    shadow = {"percent": 50, "minRequests": 10_000} if phase is Phase.SHADOWING else None
    play.change(shadow=shadow)
    if shadow:
        play.until(lambda tick: tick.decision.state.mirror > 0 and tick.decision.state.verified)
    else:
        play.at_weight(25)
    play.tick(300, error_rate={"one": 0.5})
    play.change(paused=phase is Phase.PAUSED, shadow=shadow)
    play.tick()
    before = play.ticks[-1].decision.state
    play.world.stable = replace(play.world.stable, digest="other", label="1.1")
    play.tick(300)
    after = play.ticks[-1].decision.state
    assert (after.phase, after.weight, after.mirror, after.stable) == (phase, before.weight, before.mirror, "other")
    assert play.notes == f"1.1 is stable now: counting begins anew at weight {before.weight}"
    assert (after.total, after.at_step) == (Pair(), Pair())
    play.change(shadow=shadow)
    play.tick()
    play.tick(40)
    total = play.ticks[-1].decision.state.total
    assert total.stable.errors == 0
    assert 0 < total.canary.requests <= 40


# --- no counts of stable ---


def without_stable(play: Play) -> None:
    """Nobody measures stable's servers."""
    read = play.world.read

    def reading(spec: Spec) -> Reading:
        return replace(read(spec), stable={})

    play.world.read = reading  # type: ignore[method-assign]


def test_no_user_gets_a_canary_that_cannot_be_measured(play: Play) -> None:
    play.change(progressDeadline="20s")
    play.world.broken.add("read")
    for _ in range(20):
        play.tick(1000)
        assert play.world.weight == 0
    assert play.reason == "no measurements"
    assert play.ended() is Phase.ROLLED_BACK
    play.world.broken.clear()
    play.ask("retry")
    assert play.ended() is Phase.PROMOTED


def test_a_stable_version_with_traffic_that_nobody_measures_holds_the_weight_up_to_the_deadline(play: Play) -> None:
    play.change(progressDeadline="20s")
    play.at_weight(5, requests=0)
    without_stable(play)
    for _ in range(20):
        play.tick(2000)
        assert (play.world.weight, play.reason) == (5, "no measurements of stable")
    assert play.ended() is Phase.ROLLED_BACK


def test_at_weight_100_nobody_needs_measurements_of_stable(play: Play) -> None:
    play.at_weight(100)
    without_stable(play)
    assert play.ended() is Phase.PROMOTED


def test_a_stable_version_that_is_measured_and_had_no_request_leaves_the_absolute_limits_to_judge(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.world.counted["two"] = Counters(requests=200, errors=8)
    play.tick()
    assert (play.world.weight, play.ticks[-1].decision.state.total.stable.requests) == (25, 0)
