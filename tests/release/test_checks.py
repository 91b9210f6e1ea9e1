"""Numbers of others: what passes, what fails, what holds, and that nobody has to wait for them."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from release.hooks import Hook, hook
from release.playing import Play

from torchfinch.errors import TorchfinchError
from torchfinch.release.controller import Tick
from torchfinch.release.decision.conditions import conditions
from torchfinch.release.external import ask_prometheus, ask_webhook
from torchfinch.release.manifest.options import ExternalCheck
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.simulation.replay import replay
from torchfinch.release.state import Check, Finding, Phase

URL = "http://127.0.0.1:9/"


def check(**fields: Any) -> ExternalCheck:
    return ExternalCheck.model_validate({"name": "orders", "webhook": URL, **fields})


def judged(asked: ExternalCheck, **finding: Any) -> Check:
    found = Finding(**{"name": "orders", "at": 100.0, "revision": 3, **finding})
    [result] = conditions([asked], [found], revision=3, since=95.0)
    return result


@pytest.mark.parametrize(
    ("success", "failure", "value", "verdict"),
    [
        (">= 0.9", None, 0.95, "pass"),
        (">= 0.9", None, 0.89, "fail"),
        (None, "< 0.8", 0.79, "fail"),
        (None, "< 0.8", 0.8, "pass"),
        (">= 0.9", "< 0.8", 0.95, "pass"),
        (">= 0.9", "< 0.8", 0.85, "hold"),
        (">= 0.9", "< 0.8", 0.7, "fail"),
        ("==1", None, 1, "pass"),
        ("!= -2.5", None, -2.5, "fail"),
    ],
)
def test_a_value_passes_fails_or_holds(success: str | None, failure: str | None, value: float, verdict: str) -> None:
    result = judged(check(successCondition=success, failureCondition=failure), value=value)
    assert (result.verdict, result.value) == (verdict, value)


def test_a_check_carries_value_limit_and_conditions_in_words() -> None:
    result = judged(check(successCondition=">= 0.9", failureCondition="< 0.8"), value=0.85)
    assert (result.name, result.value, result.limit) == ("orders", 0.85, 0.8)
    assert result.condition == "passes if >= 0.9, fails if < 0.8"


@pytest.mark.parametrize(
    ("finding", "note"),
    [
        ({"problem": "no answer within 5 s"}, "no answer within 5 s"),
        ({"value": 1, "revision": 2}, "not told yet"),
        ({"value": 1, "at": 89.9}, "not told yet"),
        ({"value": 1, "name": "another"}, "not told yet"),
    ],
    ids=["unanswered", "of another step", "old", "of another check"],
)
def test_without_a_value_of_this_step_a_check_holds(finding: dict[str, Any], note: str) -> None:
    result = judged(check(successCondition="> 0"), **finding)
    assert (result.verdict, result.value, result.note) == ("hold", None, note)


def test_a_dry_run_shows_its_verdict_and_decides_nothing() -> None:
    result = judged(check(successCondition="> 0", dryRun=True), value=-1)
    assert (result.verdict, result.note) == ("skip", "dry run, fail: passes if > 0")


# --- in a release ---


@pytest.fixture
def shop() -> Iterator[Hook]:
    with hook() as made:
        yield made


def ask(play: Play, shop: Hook, **fields: Any) -> None:
    play.change(checks=[{"name": "orders", "webhook": shop.url, "successCondition": ">= 0.9", **fields}])


def patiently(done: Callable[[Tick], bool]) -> Callable[[Tick], bool]:
    """The clock of a play runs ahead of real web servers."""

    def waited(tick: Tick) -> bool:
        time.sleep(0.02)
        return done(tick)

    return waited


def until(play: Play, done: Callable[[Tick], bool]) -> Tick:
    return play.until(patiently(done), 1000)


def test_a_release_whose_checks_pass_is_promoted_and_each_step_is_asked_anew(play: Play, shop: Hook) -> None:
    ask(play, shop)
    until(play, lambda tick: tick.outcome is Phase.PROMOTED)
    assert {body["weight"] for body in shop.bodies} == {5, 25, 50, 100}
    last = shop.bodies[-1]
    assert (last["release"], last["model"], last["canary"]["digest"]) == ("digits", "digits", "two")
    assert last["canary"]["requests"] > 0


def test_a_check_that_fails_takes_the_canary_back_with_its_value(play: Play, shop: Hook) -> None:
    ask(play, shop)
    shop.answer = {"value": 0.5}
    until(play, lambda tick: tick.outcome is Phase.ROLLED_BACK)
    assert play.reason == "orders: 0.5 fails; it passes if >= 0.9"
    broken = [line for line in play.world.history for each in line["checks"] if each["verdict"] == "fail"]
    assert broken


def test_nothing_is_asked_and_nothing_fails_before_the_canary_has_users(play: Play, shop: Hook) -> None:
    ask(play, shop)
    play.at_weight(5, requests=0)
    assert shop.bodies == []


def test_a_web_hook_that_cannot_tell_holds_the_weight_up_to_the_deadline(play: Play, shop: Hook) -> None:
    ask(play, shop)
    play.change(checks=play.spec.model_dump(mode="json", by_alias=True)["checks"], progressDeadline="20s")
    shop.status = 500
    play.at_weight(5, requests=0)
    until(play, lambda tick: tick.decision.state.phase is Phase.ROLLING_BACK)
    assert play.reason.startswith("no progress for 20 s: orders: the answer has status 500")


def test_a_web_hook_that_hangs_delays_no_look_and_no_rollback(play: Play, shop: Hook) -> None:
    ask(play, shop, timeout="30s")
    shop.free.clear()
    play.at_weight(5, requests=0)
    play.tick(100)
    assert shop.came.wait(10)
    for _ in range(3):
        play.tick(4000)
        assert (play.world.weight, play.reason) == (5, "orders: not told yet")
    assert len(shop.bodies) == 1, "nobody is asked twice at a time"
    play.tick(1000, error_rate={"two": 1.0})
    assert play.phase is Phase.ROLLING_BACK


def test_a_history_with_checks_replays_to_the_same_decisions(play: Play, shop: Hook) -> None:
    ask(play, shop)
    until(play, lambda tick: tick.decision.state.weight == 25)
    shop.answer = 0
    until(play, lambda tick: tick.outcome is Phase.ROLLED_BACK)
    assert all(turn.same for turn in replay(play.world.history))


# --- asking ---


@pytest.mark.parametrize(("answer", "value"), [(0.5, 0.5), ({"value": 2}, 2), (True, 1), ({"value": False}, 0)])
def test_a_web_hook_answers_a_number_alone_or_as_value(shop: Hook, answer: Any, value: float) -> None:
    shop.answer = answer
    assert ask_webhook(check(webhook=shop.url, successCondition="> 0"), {}) == value


@pytest.mark.parametrize(
    ("raw", "status", "said"),
    [
        (b"well", 200, "the answer is not JSON"),
        (b"\xff\xfe", 200, "the answer is not JSON"),
        (b'"1"', 200, "'1' is no number"),
        (b"NaN", 200, "nan is no number"),
        (b"{}", 200, "None is no number"),
        (b"no such thing", 404, "the answer has status 404: no such thing"),
        (b"", 302, "the answer has status 302"),
        (b"1" * 100_000, 200, "is longer than"),
    ],
)
def test_another_answer_of_a_web_hook_is_told(shop: Hook, raw: bytes, status: int, said: str) -> None:
    shop.raw, shop.status = raw, status
    with pytest.raises(TorchfinchError, match=said):
        ask_webhook(check(webhook=shop.url, successCondition="> 0"), {})


def test_a_web_hook_that_is_late_or_not_there_is_told(shop: Hook) -> None:
    shop.free.clear()
    with pytest.raises(TorchfinchError, match=r"no answer within 0\.05 s"):
        ask_webhook(check(webhook=shop.url, successCondition="> 0", timeout="50ms"), {})
    with pytest.raises(TorchfinchError, match="no answer: "):
        ask_webhook(check(successCondition="> 0"), {})


def vector(*values: str) -> dict[str, Any]:
    return {"data": {"resultType": "vector", "result": [{"metric": {}, "value": [0, value]} for value in values]}}


def prometheus(shop: Hook, spec: Spec) -> float:
    asked = check(webhook=None, query="sum(up)", address=shop.url.removesuffix("/hook"), successCondition="> 0")
    return ask_prometheus(asked, spec)


@pytest.mark.parametrize("answer", [vector("3"), {"data": {"resultType": "scalar", "result": [0, "3"]}}])
def test_a_query_gives_one_number(shop: Hook, play: Play, answer: Any) -> None:
    shop.answer = answer
    assert prometheus(shop, play.spec) == 3
    assert shop.paths == ["/api/v1/query?query=sum%28up%29"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (vector(), "the query gives no data"),
        (vector("1", "2"), "the query gives 2 series"),
        (vector("NaN"), "nan is no number"),
        ({"data": {"resultType": "matrix", "result": [{"values": []}]}}, "does not answer as a Prometheus"),
        ([], "does not answer as a Prometheus"),
    ],
)
def test_a_query_that_gives_no_single_number_is_told(shop: Hook, play: Play, answer: Any, said: str) -> None:
    shop.answer = answer
    with pytest.raises(TorchfinchError, match=said):
        prometheus(shop, play.spec)
