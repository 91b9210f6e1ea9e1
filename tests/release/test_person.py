"""What a person asks for, and what a person does to the router by hand."""

import pytest
from release.playing import Play

from torchfinch.release.adapters import Request
from torchfinch.release.state import Phase


def test_a_pause_holds_the_weight_and_resuming_keeps_the_evidence(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.tick(1980)
    play.change(paused=True)
    play.tick(2000)
    assert (play.phase, play.world.weight, play.reason) == (Phase.PAUSED, 5, "paused at weight 5")
    play.change()
    play.tick()
    assert play.world.weight == 25


@pytest.mark.parametrize("action", ["promote", "skip"])
def test_no_action_gives_traffic_to_a_canary_of_an_earlier_release(play: Play, action: str) -> None:
    play.at_weight(5, requests=0)
    play.world.offered = "three"
    play.tick()
    play.ask(action)
    play.tick()
    assert play.world.weight == 0
    assert play.notes == f"{action} does not apply: the canary has no ready endpoint"


def test_a_new_canary_while_paused_gets_no_traffic(play: Play) -> None:
    play.tick()
    play.change(paused=True)
    for _ in range(5):
        play.tick(1000)
    assert (play.phase, play.world.weight) == (Phase.PAUSED, 0)


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize(
    ("action", "phase", "weight"),
    [("abort", Phase.ROLLING_BACK, 0), ("promote", Phase.PROMOTING, 100), ("skip", Phase.PROGRESSING, 25)],
)
def test_a_person_decides_at_once(play: Play, action: str, phase: Phase, weight: int, paused: bool) -> None:
    play.at_weight(5, requests=0)
    play.world.asked = Request(paused=paused)
    play.tick()
    play.ask(action)
    play.tick()
    assert (play.phase, play.world.weight) == (phase, weight)
    assert play.reason == f"a person asked to {action}"


def test_an_action_is_carried_out_once(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.ask("skip")
    for _ in range(5):
        play.tick()
    assert play.world.weight == 25
    play.ask("skip", "again")
    play.tick()
    assert play.world.weight == 50


def test_the_manifests_action_and_a_persons_request_do_not_hide_each_other(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.change(action={"type": "skip", "id": "of the manifest"})
    play.ask("skip", "of the command line")
    play.tick()
    play.tick()
    assert play.world.weight == 50


@pytest.mark.parametrize("action", ["promote", "abort", "retry", "skip", "resume"])
def test_an_action_that_does_not_apply_says_so(play: Play, action: str) -> None:
    play.ended()
    play.ask(action)
    play.tick()
    assert play.notes == f"{action} does not apply: no release is under way"
    play.tick()
    assert play.notes == ""
    assert play.phase is Phase.PROMOTED


def test_after_a_rollback_only_retry_or_a_new_canary_begins_again(play: Play) -> None:
    play.world.unable.add("two")
    play.ended()
    play.world.unable.clear()
    for _ in range(20):
        play.tick(1000)
    assert (play.phase, play.world.weight) == (Phase.ROLLED_BACK, 0)
    play.ask("retry")
    assert play.ended() is Phase.PROMOTED


def test_a_rolled_back_canary_is_tried_again_after_it_was_taken_back(play: Play) -> None:
    play.ended(error_rate={"two": 1})
    play.world.offered = "one"
    play.tick()
    assert play.phase is Phase.IDLE
    play.world.offered = "two"
    assert play.ended() is Phase.PROMOTED


def test_a_lower_weight_by_hand_is_a_pause(play: Play) -> None:
    play.at_weight(25)
    play.world.weight = 10
    play.tick(5000)
    assert (play.phase, play.world.weight) == (Phase.PAUSED, 10)
    assert play.notes == "the weight was lowered by hand from 25 to 10: paused until resume"
    play.tick(5000)
    assert (play.phase, play.world.weight, play.notes) == (Phase.PAUSED, 10, "")


def test_resume_puts_a_lowered_weight_back(play: Play) -> None:
    play.at_weight(25)
    play.world.weight = 10
    play.tick()
    play.ask("resume")
    play.tick()
    assert (play.phase, play.world.weight) == (Phase.PROGRESSING, 25)
    assert play.ended() is Phase.PROMOTED


def test_a_lowered_weight_put_back_by_hand_goes_on(play: Play) -> None:
    play.at_weight(25)
    play.world.weight = 10
    play.tick()
    play.world.weight = 25
    play.tick()
    assert play.reason == "the weight is 25 again by hand: going on"
    assert play.ended() is Phase.PROMOTED


def test_a_higher_weight_by_hand_is_put_back(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.world.weight = 80
    play.tick()
    assert (play.phase, play.world.weight) == (Phase.PROGRESSING, 5)
    assert play.notes == "the weight was raised by hand to 80: put back to 5"


ROUTE = {"kind": "HTTPRoute", "name": "digits"}


def marked(play: Play) -> int | None:
    """The weight of the mark beside the router's."""
    return play.world.mark.weight if play.world.mark else None


@pytest.mark.parametrize("paused", [False, True])
def test_a_mark_that_somebody_took_away_is_put_back_and_told(play: Play, paused: bool) -> None:
    play.change(route=ROUTE)
    play.at_weight(25)
    play.world.asked = Request(paused=paused)
    play.tick()
    play.world.mark = None
    play.tick()
    assert play.notes == "the mark of this release had gone from the route: put back"
    assert (play.world.weight, marked(play)) == (25, 25)
    play.world.asked = Request()
    assert play.ended() is Phase.PROMOTED


def test_a_weight_lowered_together_with_its_mark_is_a_pause_and_the_mark_comes_back(play: Play) -> None:
    play.change(route=ROUTE)
    play.at_weight(25)
    play.world.weight, play.world.mark = 10, None
    for _ in range(3):
        play.tick(5000)
        assert (play.phase, play.world.weight, marked(play)) == (Phase.PAUSED, 10, 25)
    play.ask("resume")
    play.tick()
    assert (play.phase, play.world.weight) == (Phase.PROGRESSING, 25)


def test_a_route_that_has_taken_no_mark_yet_was_not_lowered_by_anybody(play: Play) -> None:
    play.change(route=ROUTE)
    play.world.broken |= {"set_weight", "remark"}
    play.until(lambda tick: tick.decision.state.weight == 5)
    for _ in range(3):
        play.tick()
        assert (play.phase, play.world.weight) == (Phase.PROGRESSING, 0)
    play.world.broken.clear()
    assert play.ended() is Phase.PROMOTED


def test_a_step_that_was_not_taken_up_with_its_mark_gone_was_not_lowered_by_anybody(play: Play) -> None:
    play.change(route=ROUTE)
    play.at_weight(5)
    play.world.broken |= {"set_weight", "remark"}
    play.until(lambda tick: tick.decision.state.weight == 25, 1000)
    play.world.mark = None
    play.tick()
    assert (play.phase, play.world.weight, marked(play)) == (Phase.PROGRESSING, 5, None)
    play.world.broken.clear()
    assert play.ended() is Phase.PROMOTED


def test_a_mark_is_put_back_only_beside_the_weight_that_it_tells(play: Play) -> None:
    play.change(route=ROUTE)
    play.world.broken.add("set_weight")
    play.until(lambda tick: tick.decision.state.weight == 5)
    play.world.lose("canary")  # so that nothing is set at the next look
    play.tick()
    assert (play.world.weight, marked(play)) == (0, 0)
    play.world.broken.clear()
    assert play.ended() is Phase.PROMOTED


def test_where_pods_are_the_weight_a_share_that_is_only_near_is_nobodys_wish_without_a_mark(play: Play) -> None:
    play.change(route={"kind": "Replicas"})
    play.at_weight(25)
    play.world.weight, play.world.mark = 20, None  # one of five pods
    play.tick()
    assert (play.phase, play.world.weight, marked(play)) == (Phase.PROGRESSING, 25, 25)


def test_a_weight_lowered_to_nothing_amid_a_promotion_together_with_its_mark_is_a_pause(play: Play) -> None:
    play.change(route=ROUTE)
    play.world.broken.add("promote")
    play.until(lambda tick: tick.decision.state.phase is Phase.PROMOTING and tick.seen.weight == 100, 1000)
    play.tick()
    play.world.weight, play.world.mark = 0, None
    play.tick()
    assert (play.phase, play.world.weight, marked(play)) == (Phase.PAUSED, 0, 100)


def test_a_weight_raised_together_with_its_mark_is_put_back(play: Play) -> None:
    play.change(route=ROUTE)
    play.at_weight(25)
    play.world.weight, play.world.mark = 80, None
    play.tick()
    assert (play.phase, play.world.weight, marked(play)) == (Phase.PROGRESSING, 25, 25)


def test_a_weight_by_hand_before_the_canary_runs_is_put_back_and_nothing_else(play: Play) -> None:
    play.world.weight = 30
    play.tick()
    play.tick()
    play.tick()
    assert play.world.weight == 0
    assert play.ended() is Phase.PROMOTED


def test_a_retry_asked_before_the_rollback_does_not_undo_it(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.ask("abort")
    play.tick()
    play.ask("retry", "too early")
    assert play.ended() is Phase.ROLLED_BACK


def test_a_retry_waits_for_a_router_that_does_not_tell_its_weights(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.ask("abort", "first")
    play.ended()
    play.ask("retry", "second")
    play.world.broken.add("observe")
    play.tick()
    assert (play.phase, play.notes) == (Phase.ROLLED_BACK, "the router does not tell its weights: retry waits")
    play.world.broken.clear()
    play.tick()
    assert play.phase is Phase.PROGRESSING


def test_a_weight_by_hand_without_a_release_is_put_back(play: Play) -> None:
    play.ended(error_rate={"two": 1})
    play.world.weight = 30
    play.tick()
    assert (play.phase, play.world.weight) == (Phase.ROLLED_BACK, 0)
    assert "put back to 0" in play.notes
