"""A controller whose clock is wrong, on a real API server."""

import sys
from pathlib import Path

import pytest
from release.cluster.apps import ENDLESS
from release.cluster.place import Controller
from release.cluster.world import Traffic
from waiting import within

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

JUMPING = """
import sys, time
from pathlib import Path
exact, ahead = time.time, Path(sys.argv.pop(1))
time.time = lambda: exact() + float(ahead.read_text())
from torchfinch.cli import main
main()
"""
"""`torchfinch` by a clock that is as many seconds ahead as a file says."""


class Clock:
    """That of a controller; it can jump."""

    def __init__(self, folder: Path) -> None:
        self.ahead, self._next = folder / "ahead", folder / "next"
        self.jump(0)

    def jump(self, seconds: float) -> None:
        """To so far from the right time."""
        self._next.write_text(str(seconds))
        self._next.replace(self.ahead)


def test_a_clock_that_jumps_amid_a_step_runs_into_no_deadline(
    control_plane: Path, traffic: Traffic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, clock, day = traffic.app(analysis=ENDLESS), Clock(tmp_path), 86_400
    monkeypatch.setattr(Controller, "program", (sys.executable, "-c", JUMPING, str(clock.ahead)))
    controller = Controller(control_plane, tmp_path / "log", "--namespace", app.namespace, "--alone")
    try:
        app.offer("2.0")
        app.reach(25)
        clock.jump(day)
        assert within(20, lambda: app.status["reason"].startswith("measurements are 864")), app.status
        clock.jump(-day)
        assert within(20, lambda: "canary requests" in app.status["reason"]), app.status
        assert (app.weights, app.status["phase"]) == ([75, 25], "Progressing")
        app.spec(analysis={"minRequests": 50})
        app.wait("Promoted")
    finally:
        controller.kill()
