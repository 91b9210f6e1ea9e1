"""What is written down, and what can be decided again from it."""

import re
import time
from io import StringIO

import pytest
from release.playing import Play
from rich.console import Console

from torchfinch.release.simulation.replay import replay
from torchfinch.release.state import Arm, Phase
from torchfinch.release.view import board, clock, is_decision


def test_checks_carry_value_limit_and_sample_sizes(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.tick(2000, error_rate={"two": 0.02, "one": 0.02})
    checks = {check.name: check for check in play.ticks[-1].decision.checks}
    assert checks["requests"].value == 100
    assert (checks["error rate"].value, checks["error rate"].limit) == (0.02, 0.05)
    assert checks["error rate"].note == "2 of 100; stable 38 of 1900"
    assert checks["error rate against stable"].limit == pytest.approx(0.04)


def test_a_look_on_a_terminal_has_its_numbers_in_units(play: Play) -> None:
    play.at_weight(5, requests=0)
    play.tick(2000, error_rate={"two": 0.02, "one": 0.02}, latency={"two": 0.15, "one": 0.1})
    written = StringIO()
    Console(file=written, width=100).print(board(play.world.history[-1]))
    shown = written.getvalue()
    assert re.search(r"error rate against stable +2 % +4 % +ok", shown)
    assert re.search(r"mean latency against stable +150 ms +200 ms +ok", shown)


def test_times_of_another_day_have_their_date() -> None:
    assert re.fullmatch(r"\d\d:\d\d:\d\d", clock(time.time()))
    assert re.fullmatch(r"2001-09-\d\d \d\d:\d\d:\d\d", clock(1e9))


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


def test_a_note_is_a_decision_and_its_end_is_none(play: Play) -> None:
    play.world.offered = ""
    play.tick()
    play.tick()
    first, second = play.world.history
    assert first["notes"]
    assert is_decision(first, None)
    assert not is_decision(second, first)


def test_a_trouble_whose_words_or_numbers_alone_change_is_no_news(play: Play) -> None:
    play.tick()
    line = play.world.history[-1]
    url = "http://prometheus.test:9090/api/v1/query"
    hanging = [f"{url} did not answer within 5 s", f"{url} is slow: 2 requests wait", f"{url}: Connection refused"]
    counted = ["0 of 2 pods are there", "1 of 2 pods are there"]
    for texts in (hanging, counted):
        lines = [{**line, "actions": [], "notes": [], "trouble": [text]} for text in texts]
        assert is_decision(lines[0], {**lines[0], "trouble": []})
        assert not any(is_decision(now, before) for now in lines for before in lines)
    assert is_decision({**line, "trouble": hanging[:1]}, {**line, "trouble": counted[:1]})


def test_a_first_start_waits_for_a_stable_version(play: Play) -> None:
    play.world.stable = Arm()
    play.tick()
    assert (play.phase, play.reason) == (Phase.IDLE, "waiting for a first stable version")


def test_no_canary_is_no_release(play: Play) -> None:
    play.world.offered = ""
    assert play.ended() is Phase.IDLE
