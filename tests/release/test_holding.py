"""What is missing, old or late holds the weight, and only up to the deadline."""

import pytest
from release.playing import Play

from torchfinch.release.adapters import Request
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.state import Phase, Reading

# --- measurements ---


def test_missing_measurements_hold_and_the_deadline_leads_back(play: Play) -> None:
    play.change(progressDeadline="30s")
    play.at_weight(5, requests=0)
    play.world.broken.add("read")
    for _ in range(30):
        play.tick(1000)
        assert (play.phase, play.world.weight, play.reason) == (Phase.PROGRESSING, 5, "no measurements")
    play.tick()
    assert (play.phase, play.world.weight) == (Phase.ROLLING_BACK, 0)
    assert play.reason == "no progress for 30 s: no measurements"


def test_a_fault_that_nobody_expects_in_measurements_stops_no_rollback(play: Play) -> None:
    def read(spec: Spec) -> Reading:
        raise ValueError("could not convert string to float: '{'")

    play.at_weight(5, requests=0)
    play.world.read = read  # type: ignore[method-assign]
    play.tick(1000)
    assert play.phase is Phase.PROGRESSING
    assert "could not convert" in play.ticks[-1].trouble[0]
    play.ask("abort")
    play.tick()
    assert (play.phase, play.world.weight) == (Phase.ROLLING_BACK, 0)


def test_old_measurements_are_missing_ones(play: Play) -> None:
    play.at_weight(5, requests=0)
    reading = play.world.read(play.spec)
    play.world.serve(5000)
    play.world.read = lambda spec: reading  # type: ignore[method-assign]  # noqa: ARG005
    play.world.now += 10
    play.tick()
    assert play.reason == "measurements are 11 s old, more than 10 s"
    assert play.world.weight == 5


def test_measurements_that_come_back_go_on_where_they_were(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.tick(1000)
    play.world.broken.add("read")
    play.tick(1000)
    play.world.broken.clear()
    play.tick()
    assert play.world.weight == 25


def test_a_counter_that_starts_again_does_not_lose_the_evidence(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.tick(1500)
    play.world.counted.clear()
    play.tick(500)
    assert play.world.weight == 25


def test_a_canary_without_traffic_is_rolled_back_at_the_deadline(play: Play) -> None:
    play.change(progressDeadline="20s")
    play.at_weight(5, requests=0)
    assert play.ended(0) is Phase.ROLLED_BACK
    assert play.reason == "no progress for 20 s: 0 of 100 canary requests"


# --- time ---


@pytest.mark.parametrize("jump", [86_400, -86_400])
def test_a_clock_that_jumps_runs_into_no_deadline(play: Play, jump: int) -> None:
    play.at_weight(5, requests=0)
    play.world.now += jump
    play.tick(10)
    assert play.phase is Phase.PROGRESSING
    play.tick(2000)
    assert play.world.weight == 25


def test_a_pause_does_not_count_for_the_deadline(play: Play) -> None:
    play.change(progressDeadline="20s")
    play.at_weight(5, requests=0)
    play.world.asked = Request(paused=True)
    for _ in range(60):
        play.tick()
    assert (play.phase, play.world.weight) == (Phase.PAUSED, 5)
    play.world.asked = Request()
    play.tick()
    assert (play.phase, play.world.weight) == (Phase.PROGRESSING, 5)


def test_a_step_longer_than_the_deadline_is_no_lack_of_progress(play: Play) -> None:
    play.change(progressDeadline="10s", steps=[{"weight": 50, "duration": "40s"}])
    assert play.ended() is Phase.PROMOTED


# --- the router ---


def test_a_router_that_lost_its_weights_gets_them_back(play: Play) -> None:
    play.at_weight(25)
    play.world.restart_router()
    play.tick()
    assert (play.phase, play.world.weight) == (Phase.PROGRESSING, 25)
    assert play.ended() is Phase.PROMOTED


def test_a_weight_that_is_not_taken_holds_the_step(play: Play) -> None:
    play.change(progressDeadline="10s")
    play.at_weight(5, requests=0)
    play.world.broken.add("set_weight")
    play.tick(2000)
    play.tick(2000)
    assert play.reason == "setting weight 25, for the router shows 5"
    assert play.ticks[-1].trouble == ("set_weight is broken",)
    play.world.broken.clear()
    play.tick()
    assert play.world.weight == 25


def test_a_rollback_that_the_router_does_not_take_is_tried_until_it_does(play: Play) -> None:
    play.at_weight(25)
    play.world.broken.add("set_weight")
    play.ask("abort")
    for _ in range(5):
        play.tick()
    assert (play.phase, play.world.weight) == (Phase.ROLLING_BACK, 25)
    play.world.broken.clear()
    assert play.ended() is Phase.ROLLED_BACK
    assert play.world.weight == 0


def test_an_unreadable_router_holds_and_the_deadline_leads_back(play: Play) -> None:
    play.change(progressDeadline="10s")
    play.at_weight(5, requests=0)
    play.world.broken.add("observe")
    for _ in range(10):
        play.tick(2000)
        assert play.phase is Phase.PROGRESSING
        assert play.reason == "the router does not tell its weights; observe is broken"
    play.tick()
    assert play.phase is Phase.ROLLING_BACK
    play.world.broken.clear()
    assert play.ended() is Phase.ROLLED_BACK
