"""Another canary amid a release."""

import pytest
from release.playing import Play

from torchfinch.release.state import Phase, SetWeight


def test_a_new_canary_amid_a_release_begins_anew_at_weight_0(play: Play) -> None:
    play.at_weight(50)
    play.world.offered = "three"
    tick = play.tick(1000)
    assert play.world.weight == 0
    assert [type(act) for act in tick.decision.actions] == [SetWeight]
    assert play.world.canary.digest == "two", "nothing that may still serve is replaced before weight 0 was seen"
    assert play.ended() is Phase.PROMOTED
    assert play.world.stable.digest == "three"


def test_the_old_canarys_errors_are_not_the_new_ones(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.tick(1000, error_rate={"two": 0.5})
    play.world.offered = "three"
    assert play.ended() is Phase.PROMOTED


def test_taking_the_canary_back_ends_the_release(play: Play) -> None:
    play.at_weight(50)
    play.world.offered = "one"
    play.tick()
    assert (play.phase, play.world.weight) == (Phase.ROLLING_BACK, 0)
    assert play.ended() is Phase.IDLE
    assert play.world.stable.digest == "one"


def test_a_canary_file_that_cannot_be_read_changes_nothing(play: Play) -> None:
    play.at_weight(25)
    play.world.offered = None
    play.tick(4000)
    assert play.world.weight == 50


@pytest.mark.parametrize(
    ("steps", "then"), [([5, 25, 40], 40), ([30], 30), ([5, 10], 100)], ids=["added", "removed", "lowered"]
)
def test_steps_may_be_edited_amid_a_release(play: Play, steps: list[int], then: int) -> None:
    play.at_weight(25)
    play.change(steps=[{"weight": weight} for weight in steps])
    play.until(lambda tick: tick.decision.state.weight != 25, 1000)
    assert play.world.weight == then
