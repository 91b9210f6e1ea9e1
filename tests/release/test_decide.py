"""Every rule of the decision, played in a world in memory; the first lines of each test are the situation."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from torchfinch.release.adapters import Request
from torchfinch.release.controller import Tick
from torchfinch.release.replay import replay
from torchfinch.release.simulated import World
from torchfinch.release.spec import Action, Spec
from torchfinch.release.state import Arm, Deploy, Phase, SetWeight

MakeSpec = Callable[..., Spec]


class Play:
    """A release that is played turn by turn, a second each."""

    def __init__(self, make_spec: MakeSpec) -> None:
        self.make_spec = make_spec
        self.world = World()
        self.spec = make_spec()
        self.ticks: list[Tick] = []
        self.controller = self.world.controller(lambda: self.spec)

    def change(self, **spec: Any) -> None:
        self.spec = self.make_spec(**spec)

    def tick(self, requests: int = 0, **serving: Any) -> Tick:
        self.world.serve(requests, **serving)
        self.world.now += 1
        self.ticks.append(self.controller.tick())
        return self.ticks[-1]

    def until(self, done: Callable[[Tick], bool], requests: int = 0, **serving: Any) -> Tick:
        for _ in range(200):
            tick = self.tick(requests, **serving)
            if done(tick):
                return tick
        raise AssertionError(f"still {self.phase} at {self.world.weight}: {self.reason}")

    def at_weight(self, weight: int, requests: int = 1000, **serving: Any) -> None:
        """Go on until this weight is verified."""
        self.until(lambda tick: tick.decision.state.weight == weight and tick.decision.state.verified, requests,
                   **serving)  # fmt: skip

    def ended(self, requests: int = 1000, **serving: Any) -> Phase:
        outcome = self.until(lambda tick: tick.outcome is not None, requests, **serving).outcome
        assert outcome
        return outcome

    def ask(self, action: str, name: str = "once") -> None:
        wish = Action.model_validate({"type": action, "id": name})
        self.world.asked = replace(self.world.asked, action=wish)

    @property
    def phase(self) -> Phase:
        return self.ticks[-1].decision.state.phase

    @property
    def reason(self) -> str:
        return self.ticks[-1].decision.state.reason

    @property
    def notes(self) -> str:
        return "; ".join(self.ticks[-1].decision.notes)


@pytest.fixture
def play(make_spec: MakeSpec) -> Play:
    return Play(make_spec)


# --- the way forward ---


def test_a_good_canary_climbs_every_step_and_is_promoted(play: Play) -> None:
    assert play.ended() is Phase.PROMOTED
    shown = [tick.seen.weight for tick in play.ticks]
    assert [weight for weight in dict.fromkeys(shown) if weight] == [5, 25, 50, 100]
    assert play.world.stable.digest == "two"
    assert play.world.weight == 0


def test_no_step_is_taken_before_a_hundred_canary_requests(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.tick(99 * 20)
    assert play.world.weight == 5
    assert play.reason == "99 of 100 canary requests"
    play.tick(20)
    assert play.world.weight == 25


def test_each_step_needs_its_own_requests(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.tick(20_000)
    play.tick()
    play.tick(99 * 4)
    assert play.world.weight == 25
    assert play.reason == "99 of 100 canary requests at weight 25"
    play.tick(4)
    assert play.world.weight == 50


def test_a_step_may_ask_for_more_requests_and_for_time(play: Play) -> None:
    play.change(steps=[{"weight": 50, "minRequests": 300, "duration": "5s"}])
    play.at_weight(50, requests=0)
    play.tick(400)
    assert play.reason == "200 of 300 canary requests at weight 50"
    play.tick(400)
    assert play.reason == "2 of 5 s at weight 50"
    play.tick()
    play.tick()
    assert play.tick().decision.state.weight == 100


def test_requests_before_the_weight_was_seen_do_not_count_for_the_step(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.tick(2000)
    assert play.world.weight == 25
    play.tick(10_000)
    assert play.reason == "weight 25 is in the router"
    play.tick()
    assert play.reason == "0 of 100 canary requests at weight 25"


def test_no_weight_before_the_canary_is_ready(play: Play) -> None:
    play.until(lambda tick: any(isinstance(act, Deploy) for act in tick.decision.actions))
    play.world.canary = replace(play.world.canary, ready=0)
    play.tick()
    assert (play.world.weight, play.reason) == (0, "waiting for the canary to be ready")
    play.world.canary = replace(play.world.canary, ready=1)
    play.tick()
    assert play.world.weight == 5


def test_counts_go_with_their_versions_when_the_roles_change(play: Play) -> None:
    play.ended(error_rate={"one": 0.01})
    total = play.ticks[-1].decision.state.total
    assert total.stable.errors == 0
    assert total.canary.errors > 0


def test_a_promoted_canary_is_the_stable_version_of_the_next_release(play: Play) -> None:
    play.ended()
    play.world.offered = "three"
    assert play.ended(error_rate={"three": 0.5}) is Phase.ROLLED_BACK
    assert play.world.stable.digest == "two"
    play.world.offered = "four"
    assert play.ended() is Phase.PROMOTED
    assert play.world.stable.digest == "four"


# --- the way back: the rule ---


@pytest.mark.parametrize(
    ("serving", "reason"),
    [
        ({"error_rate": {"two": 0.06, "one": 0.04}}, "error rate 0.06 is over 0.05 (6 of 100;"),
        ({"error_rate": {"two": 0.03, "one": 0.01}}, "error rate against stable 0.03 is over 0.02 (3 of 100;"),
        ({"latency": {"two": 1.6, "one": 1.0}}, "mean latency 1600 ms is over 1500 ms (1600.0 ms; stable 1000.0 ms)"),
        ({"latency": {"two": 0.3, "one": 0.1}}, "mean latency against stable 300 ms is over 200 ms"),
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
    assert play.reason.startswith("not forward: step error rate 0.1 is over 0.05")
    play.tick(400 * 20, error_rate={"one": 0.02, "two": 0.1})
    assert (play.phase, play.world.weight) == (Phase.ROLLING_BACK, 0)


def test_a_canary_that_refuses_everything_does_not_pass(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.world.serve(2000)
    play.world.counted["two"] = replace(play.world.counted["two"], client_errors=100)
    play.tick()
    assert play.phase is Phase.ROLLING_BACK
    assert "client errors" in play.reason


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


def test_old_measurements_are_missing_ones(play: Play) -> None:
    play.at_weight(5, requests=0)
    reading = play.world.read()
    play.world.serve(5000)
    play.world.read = lambda: reading  # type: ignore[method-assign]
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


# --- a person: pause, actions, edits ---


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


def test_a_weight_by_hand_without_a_release_is_put_back(play: Play) -> None:
    play.ended(error_rate={"two": 1})
    play.world.weight = 30
    play.tick()
    assert (play.phase, play.world.weight) == (Phase.ROLLED_BACK, 0)
    assert "put back to 0" in play.notes


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
        assert (play.phase, play.reason) == (Phase.PROGRESSING, "the router does not tell its weights")
    play.tick()
    assert play.phase is Phase.ROLLING_BACK
    play.world.broken.clear()
    assert play.ended() is Phase.ROLLED_BACK


# --- a new canary amid a release ---


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


# --- what is written down ---


def test_checks_carry_value_limit_and_sample_sizes(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.tick(2000, error_rate={"two": 0.02, "one": 0.02})
    checks = {check.name: check for check in play.ticks[-1].decision.checks}
    assert checks["requests"].value == 100
    assert (checks["error rate"].value, checks["error rate"].limit) == (0.02, 0.05)
    assert checks["error rate"].note == "2 of 100; stable 38 of 1900"
    assert checks["error rate against stable"].limit == pytest.approx(0.04)


def test_a_history_replays_to_the_same_decisions(play: Play) -> None:
    play.at_weight(25)
    play.world.weight = 10
    play.tick()
    play.ask("resume")
    play.world.broken.add("read")
    play.tick(100)
    play.world.broken.clear()
    play.controller = play.world.controller(lambda: play.spec)  # another process takes over
    play.ended(error_rate={"two": 0.2})
    play.change(paused=True)
    play.world.offered = "three"
    for _ in range(3):
        play.tick()
    replayed = list(replay(play.world.history))
    assert len(replayed) == len(play.world.history) > 10
    assert all(turn.same for turn in replayed)


def test_a_changed_rule_shows_in_a_replay(play: Play) -> None:
    play.ended(error_rate={"two": 0.2})
    milder = play.make_spec(analysis={"maxErrorRate": None, "maxErrorRatio": None})
    for line in play.world.history:
        if "spec" in line["input"]:
            line["input"]["spec"] = milder.model_dump(mode="json", by_alias=True)
    assert not all(turn.same for turn in replay(play.world.history))


def test_a_release_at_rest_writes_no_line_per_turn(play: Play) -> None:
    play.ended()
    lines = len(play.world.history)
    for _ in range(50):
        play.tick(1000)
    assert len(play.world.history) <= lines + 1


def test_a_first_start_waits_for_a_stable_version(play: Play) -> None:
    play.world.stable = Arm()
    play.tick()
    assert (play.phase, play.reason) == (Phase.IDLE, "waiting for a first stable version")


def test_no_canary_is_no_release(play: Play) -> None:
    play.world.offered = ""
    assert play.ended() is Phase.IDLE
