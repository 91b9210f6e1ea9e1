"""An archive's handler in a fresh process with only the archive on its path, as TorchServe runs it."""

import base64
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from torchfinch.archive.read import unpack
from torchfinch.errors import TorchfinchError


class WorkerError(TorchfinchError):
    """The handler raised, or gave no answer in time; `traceback` is all that it said."""

    def __init__(self, traceback: str) -> None:
        self.traceback = traceback.strip()
        super().__init__(f"the handler failed: {self.traceback.splitlines()[-1]}", "torchfinch verify shows all of it")


@dataclass(frozen=True)
class Batch:
    """The answers to the requests of one batch."""

    answers: Sequence[tuple[int, Any]]
    """Status and decoded content of each."""
    seconds: float
    """That the handler took."""


class Worker:
    """A handler that is loaded and waits for requests."""

    def __init__(self, process: "subprocess.Popen[str]", said: Path, timeout: float) -> None:
        self._process = process
        self._said = said
        self._timeout = timeout
        self.loaded: str = self._read()["loaded"]
        """Class and module of the handler."""

    def ask(self, *bodies: bytes, headers: Mapping[str, str] | None = None) -> Batch:
        """Send bodies as one batch.

        Raises:
            WorkerError: the handler raised, ended, or took longer than its time.
        """
        assert self._process.stdin
        batch = {"bodies": [base64.b64encode(body).decode() for body in bodies], "headers": dict(headers or {})}
        try:
            self._process.stdin.write(json.dumps(batch) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, and the reading says how
        report = self._read()
        return Batch([(status, content) for status, content in report["answers"]], report["seconds"])

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(self._timeout, end)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if late.is_set():
            raise WorkerError(f"no answer within {self._timeout:g} s")
        if not line:
            said = self._said.read_text(encoding="utf-8", errors="replace")[-4000:].strip()
            raise WorkerError(said or f"exit code {self._process.wait()}")
        report: dict[str, Any] = json.loads(line)
        if "traceback" in report:
            raise WorkerError(report["traceback"])
        return report


@contextmanager
def run_worker(folder: Path, *, timeout: float = 300) -> Iterator[Worker]:
    """The handler of an unpacked archive; `timeout` limits its loading, and then each batch, seconds.

    Raises:
        WorkerError: it cannot be loaded.
    """
    package = Path(str(resources.files("torchfinch")))
    script, testing = package / "archive" / "worker_process.py", package / "testing.py"
    command: list[str | Path] = [sys.executable, "-I", script, testing, folder]
    with tempfile.TemporaryDirectory(prefix="torchfinch-worker-") as temporary:
        said = Path(temporary) / "stderr"
        with said.open("wb") as stream:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stream, text=True, cwd=folder
            )
        try:
            yield Worker(process, said, timeout)
        finally:
            process.kill()
            process.communicate()


@contextmanager
def serve_archive(archive: Path, *, timeout: float = 300) -> Iterator[Worker]:
    """As `run_worker`, for a file that is still packed.

    Raises:
        TorchfinchError: the file is no archive, or unsafe to unpack.
        WorkerError: its handler cannot be loaded.
    """
    with tempfile.TemporaryDirectory(prefix="torchfinch-archive-") as temporary:
        folder = Path(temporary) / "model"
        unpack(archive, folder)
        with run_worker(folder, timeout=timeout) as worker:
            yield worker
