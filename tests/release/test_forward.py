"""The way forward, step by step."""

from dataclasses import replace

from release.playing import Play

from torchfinch.release.state import Deploy, Phase


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
    assert (play.world.weight, play.reason) == (0, "the canary is not ready; waited 2 s, given up after 600 s")
    play.world.canary = replace(play.world.canary, lacks="0 of 2 pods are")
    play.tick()
    assert play.reason == "the canary is not ready: 0 of 2 pods are; waited 3 s, given up after 600 s"
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
