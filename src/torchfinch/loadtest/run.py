"""Runs locust as a process of its own and keeps what it measured."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from torchfinch.errors import TorchfinchError
from torchfinch.files import write_whole
from torchfinch.loadtest.limits import Limit
from torchfinch.loadtest.summary import Numbers, Reason, Summary, split_versions
from torchfinch.project import project_file

LOCUSTFILE = "loadtests/locustfile.py"
RESULT_FILES = {"summary.json", "stats.csv", "history.csv", "report.html"}
LAST_ANSWERS = 10
"""Seconds that requests under way at the end may take until they are left out."""
PATIENCE = 60
"""Seconds past its time after which locust is killed."""


@dataclass(frozen=True)
class LoadTest:
    """What to send where: `users` at once for `seconds`, each as fast as it is answered.

    `images` and `bad_images` are files or folders; a bad image is expected to be refused with a 4xx. `rate` offers
    that many requests per second in all instead. `check` is `answer` or `status` (any HTTP 200 will do).
    """

    url: str
    model: str
    images: tuple[Path, ...]
    bad_images: tuple[Path, ...] = ()
    bad_share: float = 0.1
    users: int = 8
    seconds: int = 30
    rate: float | None = None
    check: str = "answer"
    request_timeout: float = 30.0


def run_load_test(
    test: LoadTest,
    *,
    output: Path,
    limits: Sequence[Limit] = (),
    on_tick: Callable[[Numbers], None] | None = None,
) -> Summary:
    """Load the server, judge the limits and write `summary.json`, `stats.csv`, `history.csv` and `report.html`.

    `on_tick` is called about once a second with the numbers so far. SIGINT and SIGTERM end the test and keep what
    was measured; a second one gives up. `output` appears whole or not at all. Call from the main thread.

    Raises:
        TorchfinchError: locust could not run, nothing was measured, or `output` is a folder of something else.
    """
    _check_output(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as temporary:
        staging = Path(temporary) / "result"
        staging.mkdir()
        result, interrupted = _run_locust(test, staging=staging, log=Path(temporary) / "log", on_tick=on_tick)
        summary = _summarise(test, result, interrupted=interrupted, limits=limits)
        write_whole(staging / "summary.json", json.dumps(summary.to_dict(), indent=2) + "\n")
        for leftover in {file.name for file in staging.iterdir()} - RESULT_FILES:
            (staging / leftover).unlink()
        _swap(staging, output, aside=Path(temporary) / "previous")
    return summary


def open_web_ui(test: LoadTest, *, port: int) -> int:
    """Locust's own page on loopback, until SIGINT or SIGTERM ends it; returns locust's exit code."""
    command = [*_command(test, project_file(LOCUSTFILE)), "--web-host", "127.0.0.1", "--web-port", str(port)]
    with _ended_by_signals() as signals:
        child = subprocess.Popen(
            [*command, "--loglevel", "WARNING"], stdin=subprocess.DEVNULL, text=True, start_new_session=True
        )
        signals.forward_to(child)
        return child.wait()


def _check_output(output: Path) -> None:
    """Refuse a folder whose files are not those of an earlier load test: they would be lost."""
    if output.exists() and not output.is_dir():
        raise TorchfinchError(f"{output} is a file", "name a folder: --output reports/loadtest")
    strangers = {file.name for file in output.iterdir()} - RESULT_FILES if output.is_dir() else set()
    if strangers:
        raise TorchfinchError(
            f"{output} holds {min(strangers)}, which is not of a load test", "name another folder: --output FOLDER"
        )


def _command(test: LoadTest, *locustfiles: Path) -> list[str]:
    files = ",".join(map(str, locustfiles))
    command = [sys.executable, "-m", "locust", "-f", files, "--host", test.url, "--model", test.model]
    command += ["--users", str(test.users), "--spawn-rate", str(test.users), "--check", test.check]
    command += ["--bad-share", str(test.bad_share), "--request-timeout", str(test.request_timeout)]
    command += [f"--image={path}" for path in test.images] + [f"--bad-image={path}" for path in test.bad_images]
    return [*command, "--pace", str(test.rate / test.users)] if test.rate else command


def _run_locust(
    test: LoadTest, *, staging: Path, log: Path, on_tick: Callable[[Numbers], None] | None
) -> tuple[Mapping[str, Any], bool]:
    """The last line of the observer, and whether a signal ended the test."""
    command = _command(test, project_file(LOCUSTFILE), Path(__file__).with_name("observer.py"))
    command += ["--headless", "--only-summary", "--loglevel", "WARNING", "--exit-code-on-error", "0"]
    command += ["--run-time", str(test.seconds), "--stop-timeout", str(LAST_ANSWERS)]
    command += ["--csv", str(staging / "locust"), "--csv-full-history", "--observer-folder", str(staging)]
    last: Mapping[str, Any] = {}
    with log.open("w") as stderr, _ended_by_signals() as signals:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True
        )
        signals.forward_to(child)
        last_resort = threading.Timer(test.seconds + PATIENCE, child.kill)
        last_resort.start()
        try:
            for tick in _ticks(child):
                last = tick
                if on_tick is not None:
                    on_tick(Numbers.from_dict(tick["total"]))
        finally:
            last_resort.cancel()
            _end(child)
    if not last:
        raise TorchfinchError(f"locust ended with exit code {child.returncode}: {_last_line(log)}")
    history = staging / "locust_stats_history.csv"
    if history.exists():
        history.rename(staging / "history.csv")
    return last, signals.count > 0


def _ticks(child: subprocess.Popen[str]) -> Iterator[Mapping[str, Any]]:
    """The observer's lines; whatever else a locustfile prints is left to its author's terminal."""
    assert child.stdout is not None
    for line in child.stdout:
        try:
            tick = json.loads(line)
        except ValueError:
            tick = None
        if isinstance(tick, dict) and "torchfinch" in tick:
            yield tick
        else:
            sys.stderr.write(line)


def _end(child: subprocess.Popen[str]) -> None:
    try:
        child.wait(timeout=LAST_ANSWERS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout is not None:
        child.stdout.close()


class _Signals:
    """Counts SIGINT and SIGTERM: the first ends locust, which then still says what it measured, a second kills it.

    Locust gets SIGTERM for either: SIGINT may be ignored in a child of `torchfinch loadtest ... &`, and locust loses
    it when it comes while it is starting.
    """

    def __init__(self) -> None:
        self.count = 0
        self._child: subprocess.Popen[str] | None = None

    def forward_to(self, child: subprocess.Popen[str]) -> None:
        self._child = child
        if self.count:
            child.terminate()

    def handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.count += 1
        if self._child is None:
            return
        if self.count > 1:
            self._child.kill()
            return
        self._child.terminate()
        late = threading.Timer(2 * LAST_ANSWERS, self._child.kill)  # does nothing to a child that has ended
        late.daemon = True
        late.start()


@contextmanager
def _ended_by_signals() -> Iterator[_Signals]:
    signals = _Signals()
    previous = {number: signal.signal(number, signals.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _summarise(test: LoadTest, result: Mapping[str, Any], *, interrupted: bool, limits: Sequence[Limit]) -> Summary:
    total = Numbers.from_dict(result["total"])
    if result["exceptions"]:
        raise TorchfinchError(f"the locustfile failed: {result['exceptions'][0]}", "mend loadtests/locustfile.py")
    if not total.requests:
        raise TorchfinchError(
            f"no request was finished within {test.seconds} s",
            "give it longer (--duration) or look at the server's log",
        )
    return Summary(
        url=test.url,
        model=test.model,
        users=test.users,
        seconds=float(result["seconds"]),
        total=total,
        versions=split_versions(result["entries"]),
        reasons=tuple(Reason(**reason) for reason in result["reasons"]),
        limits=tuple(limit.judge(total) for limit in limits),
        interrupted=interrupted,
    )


def _swap(staging: Path, output: Path, *, aside: Path) -> None:
    if output.exists():
        output.replace(aside)
    try:
        staging.replace(output)
    except OSError:
        if aside.exists():
            aside.replace(output)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
