"""Who is told of a release, and that a release never waits for them."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
from release.hooks import Hook, hook
from release.playing import Play

from torchfinch.errors import TorchfinchError
from torchfinch.release.adapters import Request
from torchfinch.release.errands import Errands
from torchfinch.release.manifest.options import Notify
from torchfinch.release.news import send
from torchfinch.release.simulation.simulated import World
from torchfinch.release.state import Phase


@pytest.fixture
def chat() -> Iterator[Hook]:
    with hook() as made:
        yield made


def told(chat: Hook, play: Play) -> list[str]:
    """Every text, once all are sent."""
    play.controller.finish()
    return [body["text"] for body in chat.bodies]


# --- people ---


def test_a_promotion_and_a_rollback_are_told_once_each_with_version_and_reason(play: Play, chat: Hook) -> None:
    play.change(notify={"webhook": chat.url})
    play.ended()
    for _ in range(5):
        play.tick(1000)
    play.world.offered = "three"
    play.ended(error_rate={"three": 1.0})
    good, bad = told(chat, play)
    assert good == "digits: two was promoted: two is stable now"
    assert bad.startswith("digits: three was rolled back: all of the canary's first")


def test_a_pause_by_hand_is_told_whether_by_word_or_by_weight(play: Play, chat: Hook) -> None:
    play.change(notify={"webhook": chat.url})
    play.at_weight(25)
    play.world.asked = Request(paused=True)
    play.tick()
    play.tick()
    play.world.asked = Request()
    play.tick()
    play.world.weight = 10
    play.tick()
    assert told(chat, play) == [
        "digits: two was paused by hand: paused at weight 25",
        "digits: two was paused by hand: the weight was lowered by hand from 25 to 10: paused until resume",
    ]


def test_a_stable_version_that_is_lost_is_told_when_it_begins(play: Play, chat: Hook) -> None:
    play.change(notify={"webhook": chat.url})
    play.at_weight(5, requests=0)
    play.world.stable = replace(play.world.stable, ready=0)
    play.tick()
    play.tick()
    play.world.stable = replace(play.world.stable, ready=1)
    play.tick()
    assert told(chat, play) == ["digits: degraded: stable has no ready endpoint, and the canary has weight 5"]


def test_a_web_hook_that_hangs_is_in_nobodys_way(play: Play, chat: Hook) -> None:
    play.change(notify={"webhook": chat.url})
    chat.free.clear()
    play.at_weight(5, requests=0)
    play.ask("abort")
    assert play.ended() is Phase.ROLLED_BACK
    assert chat.came.wait(10)
    play.world.offered = "three"
    assert play.ended() is Phase.PROMOTED
    assert len(chat.bodies) == 1


def test_the_url_may_be_a_secret_of_the_controllers_environment(chat: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    notify = Notify.model_validate({"webhookEnv": "TORCHFINCH_CHAT"})
    with pytest.raises(TorchfinchError, match="TORCHFINCH_CHAT of the controller is not set"):
        send(notify, "well")
    monkeypatch.setenv("TORCHFINCH_CHAT", chat.url)
    send(notify, "well")
    assert chat.bodies == [{"text": "well"}]


@pytest.mark.parametrize(("status", "said"), [(500, "answers 500"), (404, "answers 404")])
def test_a_refusal_is_told_without_the_url(chat: Hook, status: int, said: str) -> None:
    chat.status = status
    with pytest.raises(TorchfinchError, match=said) as caught:
        send(Notify(webhook=chat.url), "well")
    assert chat.url not in str(caught.value)


# --- a registry ---


class Registry:
    """Keeps what it is told, or fails."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.told: list[tuple[str, ...]] = []

    def promoted(self, digest: str) -> None:
        self._tell("promoted", digest)

    def rolled_back(self, digest: str, reason: str) -> None:
        self._tell("rolled back", digest, reason)

    def _tell(self, *words: str) -> None:
        if self.fault:
            raise self.fault
        self.told.append(words)


def with_registry(play: Play, registry: Registry) -> None:
    """Another process takes over, which tells this registry."""
    world: World = play.world
    play.controller = type(play.controller)(
        read_spec=lambda: play.spec,
        router=world,
        evidence=world,
        store=world,
        outcomes=registry,
        clock=lambda: world.now,
    )


def test_a_registry_is_told_of_every_end_in_order(play: Play) -> None:
    registry = Registry()
    with_registry(play, registry)
    play.ended()
    play.world.offered = "three"
    play.ended(error_rate={"three": 1.0})
    play.controller.finish()
    good, bad = registry.told
    assert good == ("promoted", "two")
    assert bad[:2] == ("rolled back", "three")
    assert "requests failed" in bad[2]


def test_a_registry_knows_archives_where_the_digest_is_another(play: Play) -> None:
    registry = Registry()
    with_registry(play, registry)
    play.at_weight(5, requests=0)
    play.world.canary = replace(play.world.canary, archive="sha256 of the archive")
    play.ended()
    play.controller.finish()
    assert registry.told == [("promoted", "sha256 of the archive")]


def test_a_controller_killed_right_after_an_end_tells_it_when_it_comes_back(play: Play) -> None:
    play.ended()
    registry = Registry()
    with_registry(play, registry)
    play.tick()
    play.tick()
    play.controller.finish()
    assert registry.told == [("promoted", "two")]


def test_an_end_of_long_ago_is_not_told_again(play: Play) -> None:
    play.ended()
    registry = Registry()
    with_registry(play, registry)
    play.world.now += 3600
    play.tick()
    play.controller.finish()
    assert registry.told == []


@pytest.mark.parametrize("fault", [TorchfinchError("no such server"), RuntimeError("never foreseen")])
def test_a_registry_that_fails_stops_no_release(play: Play, fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with_registry(play, Registry(fault))
    play.controller._herald._reports._pauses = ()
    play.ended()
    play.world.offered = "three"
    assert play.ended() is Phase.PROMOTED
    play.controller.finish()
    assert "digits: registry: dropped" in caplog.text


# --- errands ---


def test_an_errand_is_tried_again_and_those_behind_it_wait_for_their_turn() -> None:
    errands, done, tries = Errands(pauses=(0.0, 0.0)), [], iter([True, True, False])

    def first() -> None:
        if next(tries):
            raise TorchfinchError("not yet")
        done.append("first")

    errands.put("first", first)
    errands.put("second", lambda: done.append("second"))
    errands.finish(10)
    assert done == ["first", "second"]


def test_an_errand_that_fails_every_time_is_dropped_with_a_line(caplog: pytest.LogCaptureFixture) -> None:
    errands, done = Errands(pauses=(0.0,)), []

    def fail() -> None:
        raise TorchfinchError("the web-hook answers 500", "a hint")

    errands.put("digits: notification", fail)
    errands.put("next", lambda: done.append("next"))
    errands.finish(10)
    assert [record.getMessage() for record in caplog.records] == [
        "digits: notification: dropped: the web-hook answers 500"
    ]
    assert done == ["next"]


def test_an_errand_that_breaks_is_dropped_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    errands, done = Errands(), []

    def fail() -> None:
        raise RuntimeError("never foreseen")

    errands.put("digits: registry", fail)
    errands.put("next", lambda: done.append("next"))
    errands.finish(10)
    assert "digits: registry: dropped" in caplog.text
    assert "never foreseen" in caplog.text
    assert done == ["next"]


def test_what_waits_is_bounded_and_the_oldest_goes(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []
    errands, begun, free = Errands(), threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        free.wait(30)

    errands.put("blocked", block)
    assert begun.wait(30)
    with caplog.at_level(logging.WARNING):
        for number in range(102):
            errands.put(str(number), partial(done.append, number))
    free.set()
    errands.finish(30)
    assert done == list(range(2, 102))
    assert "too much is waiting" in caplog.text
