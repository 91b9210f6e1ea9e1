"""The same inputs for both versions, before the canary has a user: what is compared, and that nobody waits for it."""

import json
import re
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from release.helpers import release
from release.playing import Play

from torchfinch.release.controller import Controller, Tick
from torchfinch.release.decision.diff import diff_checks
from torchfinch.release.differ import Differ
from torchfinch.release.manifest.options import Diff
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.simulation.replay import replay
from torchfinch.release.state import Check, Compared, Phase, Role

SAME = Compared(at=100.0, revision=3, requests=200, disagreements=4, confidence_change=-0.03, latency_ratio=1.2)


def judged(found: Compared | None, *, counted: float | None = 101.0, **limits: Any) -> dict[str, Check]:
    diff = Diff.model_validate({"inputs": "inputs", **limits})
    return {check.name: check for check in diff_checks(diff, found, revision=3, counted=counted)}


@pytest.mark.parametrize(
    ("limits", "failing"),
    [
        ({}, set()),
        ({"maxDisagreement": 0.019}, {"disagreement"}),
        ({"maxDisagreement": 0.02}, set()),
        ({"maxConfidenceChange": 0.029}, {"confidence change"}),
        ({"maxLatencyRatio": 1.1}, {"latency as a multiple"}),
        ({"maxDisagreement": 0, "maxConfidenceChange": None}, {"disagreement"}),
    ],
)
def test_each_number_has_its_limit(limits: dict[str, Any], failing: set[str]) -> None:
    checks = judged(SAME, **limits)
    assert {name for name, check in checks.items() if check.verdict == "fail"} == failing
    assert {name: check.value for name, check in checks.items()} == {
        "disagreement": 0.02,
        "confidence change": 0.03,
        "latency as a multiple": 1.2,
    }


def test_a_limit_of_null_and_answers_without_confidence_are_shown_and_decide_nothing() -> None:
    without = Compared(at=100.0, revision=3, requests=1)
    assert judged(without, maxDisagreement=None)["disagreement"].verdict == "skip"
    assert judged(without)["confidence change"].verdict == "skip"


@pytest.mark.parametrize(
    ("found", "counted", "said"),
    [
        (None, 101.0, "both versions are asked"),
        (Compared(at=100.0, revision=2, requests=1), 101.0, "both versions are asked"),
        (Compared(at=100.0, revision=3, problem="no answer"), 101.0, "no answer"),
        (SAME, 99.0, "waiting for counts from after that"),
        (SAME, None, "waiting for counts from after that"),
    ],
    ids=["not yet", "of an earlier release", "no answer", "counted before", "not counted"],
)
def test_what_is_not_known_holds(found: Compared | None, counted: float | None, said: str) -> None:
    [check] = judged(found, counted=counted).values()
    assert check.verdict == "hold"
    assert said in check.note


# --- in a release ---


class Model:
    """A server of one version: its label and confidence for every input, or a status."""

    def __init__(self) -> None:
        self.answer: Callable[[bytes], Any] = lambda body: {body.decode(): 0.9, "other": 0.1}
        self.status = 200
        self.seconds = 0.0
        self.bodies: list[bytes] = []
        self.paths: set[str] = set()
        self.free = Event()
        self.free.set()
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                model.bodies.append(body)
                model.paths.add(self.path)
                model.free.wait(30)
                time.sleep(model.seconds)
                self.send_response(model.status)
                self.end_headers()
                self.wfile.write(json.dumps(model.answer(body)).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self.free.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Two:
    """A release in memory whose versions are real servers, and a folder of four inputs."""

    def __init__(self, play: Play, root: Path) -> None:
        self.play, self.stable, self.canary = play, Model(), Model()
        self.up: dict[Role, list[str]] = {"stable": [self.stable.url], "canary": [self.canary.url]}
        self.folder = root / "inputs"
        (self.folder / "..data").mkdir(parents=True)
        (self.folder / ".hidden").write_text("not sent")
        for name in ("cat", "dog", "cow", "hen"):
            (self.folder / f"{name}.png").write_text(name)
        self.root: Path | None = root
        play.world.now = time.time() + 1000  # counts that are newer than any answer

    def change(self, diff: dict[str, Any], **spec: Any) -> None:
        def servers(_: Spec, role: Role) -> list[str]:
            return self.up[role]

        self.play.change(diff={"inputs": "inputs", **diff}, **spec)
        world = self.play.world
        self.play.controller = Controller(
            read_spec=lambda: self.play.spec,
            router=world,
            evidence=world,
            store=world,
            differ=Differ(servers, self.root),
            clock=lambda: world.now,
        )

    def until(self, done: Callable[[Tick], bool], requests: int = 0) -> Tick:
        """The clock of a play runs ahead of real web servers."""

        def waited(tick: Tick) -> bool:
            time.sleep(0.02)
            return done(tick)

        return self.play.until(waited, requests)

    def decided(self) -> Phase:
        """Go on until the canary has a weight, copies, or no prospects."""
        tick = self.until(lambda tick: tick.decision.state.weight > 0 or (tick.decision.state.phase is not Phase.IDLE
                          and tick.decision.state.phase is not Phase.PROGRESSING))  # fmt: skip
        return tick.decision.state.phase


@pytest.fixture
def two(play: Play, tmp_path: Path) -> Iterator[Two]:
    made = Two(play, tmp_path)
    yield made
    made.stable.close()
    made.canary.close()


def test_a_canary_that_answers_as_stable_gets_its_first_weight_and_is_never_asked_again(two: Two) -> None:
    two.change({})
    assert two.decided() is Phase.PROGRESSING
    assert two.play.reason.startswith("4 of 4 inputs are answered as by stable, confidence +0.0000, latency ")
    assert two.play.ended() is Phase.PROMOTED
    assert sorted(two.canary.bodies) == sorted(two.stable.bodies) == [b"cat", b"cat", b"cow", b"dog", b"hen"]
    assert two.canary.paths == {"/predictions/digits"}
    assert all(turn.same for turn in replay(two.play.world.history))
    [forward] = [line for line in two.play.world.history if line["reason"].startswith("4 of 4")]
    assert {check["name"]: check["value"] for check in forward["checks"]}["disagreement"] == 0.0


def test_a_canary_that_answers_otherwise_is_taken_back_without_a_user(two: Two) -> None:
    two.change({"maxConfidenceChange": None})
    two.canary.answer = lambda _: {"cat": 0.7, "other": 0.3}
    assert two.decided() is Phase.ROLLING_BACK
    said = r"disagreement: 75 % is over the limit of 5 % \(3 of 4 inputs; the farthest apart: (\w+).png, \1 0.900, "
    assert re.fullmatch(said + r"canary cat 0.700\)", two.play.reason), two.play.reason
    assert two.play.ended() is Phase.ROLLED_BACK
    assert {line["weight"] for line in two.play.world.history} == {0}


def test_a_canary_that_is_slow_or_less_sure_is_taken_back(two: Two) -> None:
    two.change({"maxConfidenceChange": 0.2, "maxLatencyRatio": 3})
    two.canary.answer = lambda body: {body.decode(): 0.6, "other": 0.4}
    two.canary.seconds = 0.3
    assert two.decided() is Phase.ROLLING_BACK
    assert "confidence change: 0.3 is over the limit of 0.2 (-0.3 on average)" in two.play.reason
    assert "latency as a multiple: " in two.play.reason
    assert "disagreement" not in two.play.reason


def test_copies_come_after_the_same_inputs(two: Two) -> None:
    two.change({}, shadow={})
    assert two.decided() is Phase.SHADOWING
    assert two.play.reason.startswith("4 of 4 inputs are answered as by stable")
    assert two.play.reason.endswith("copies of requests are sent to it first")
    two.play.tick(1000)
    two.play.tick(1000)
    assert two.play.phase is Phase.SHADOWING
    assert two.play.ended() is Phase.PROMOTED
    assert len(two.canary.bodies) == 5


def test_a_server_that_hangs_delays_no_look_and_a_person_can_abort(two: Two) -> None:
    two.change({})
    two.canary.free.clear()
    two.until(lambda _: bool(two.canary.bodies))
    for _ in range(3):
        two.play.tick()
        assert (two.play.world.weight, two.play.reason) == (0, "same inputs: both versions are asked")
    two.play.ask("abort")
    two.play.tick()
    assert two.play.phase is Phase.ROLLING_BACK


def gone(two: Two) -> None:
    two.up["canary"] = ["http://127.0.0.1:9"]


def none_ready(two: Two) -> None:
    two.up["canary"] = []


def failing(two: Two) -> None:
    two.stable.status = 503


def no_images(two: Two) -> None:
    two.stable.status = two.canary.status = 400


def no_folder(two: Two) -> None:
    two.folder.rename(two.folder.with_name("elsewhere"))


def empty(two: Two) -> None:
    for each in two.folder.glob("*.png"):
        each.unlink()


def not_named(two: Two) -> None:
    two.root = None


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (gone, "no answer from http://127.0.0.1:9/predictions/digits"),
        (none_ready, "canary has no server that can answer"),
        (failing, "stable answered cat.png with status 503"),
        (no_images, "neither version answered any of 4 inputs"),
        (no_folder, "inputs cannot be read: .*No such file"),
        (empty, "there is no file in .*inputs"),
        (not_named, "the controller was started without --inputs"),
    ],
)
def test_what_cannot_be_compared_holds_up_to_the_deadline(two: Two, fault: Callable[[Two], None], said: str) -> None:
    fault(two)
    two.change({}, progressDeadline="30s")
    two.until(lambda tick: tick.decision.state.phase is Phase.ROLLING_BACK)
    assert two.play.reason.startswith("no progress for 30 s: same inputs: ")
    assert re.search(said, two.play.reason), two.play.reason


# --- with a real Envoy ---


@pytest.mark.slow
def test_servers_are_asked_past_the_router_and_one_that_fails_gets_no_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inputs").mkdir()
    for number in range(10):
        (tmp_path / "inputs" / f"{number}.png").write_text("x")
    with release(tmp_path, "failing 2", diff={"inputs": "inputs"}) as it:
        last = it.run().decision.state
    assert last.phase is Phase.ROLLED_BACK
    assert last.reason.startswith("disagreement: 20 % is over the limit of 5 % (2 of 10 inputs; the farthest apart: ")
    assert last.total.canary.requests == 0
