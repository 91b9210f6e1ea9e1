"""Prove an archive: digests, loading in a fresh process with only the archive on its path, golden requests."""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchfinch.archive.golden import EVERYTHING, difference
from torchfinch.archive.read import DIGESTS, ArchiveInfo, read_archive, unpack
from torchfinch.archive.worker import WorkerError, run_worker


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `ok` is `None` where the archive has nothing to look at."""

    name: str
    ok: bool | None
    detail: str


@dataclass(frozen=True)
class Verification:
    """The checks of one archive, and the first traceback of its handler if it raised."""

    archive: ArchiveInfo
    checks: tuple[Check, ...]
    traceback: str | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return all(check.ok is not False for check in self.checks)


def verify(path: Path, *, timeout: float = 300) -> Verification:
    """Check an archive as a worker would meet it; `timeout` limits loading and answering, seconds.

    Raises:
        TorchfinchError: the file is no archive, or unsafe to unpack.
    """
    info = read_archive(path)
    with tempfile.TemporaryDirectory(prefix="torchfinch-verify-") as temporary:
        folder = Path(temporary) / "model"
        unpack(path, folder)
        digests = _check_digests(info, folder)
        if digests.ok is False:
            return Verification(info, (digests,))
        checks, traceback = _run(info, folder, timeout)
    return Verification(info, (digests, *checks), traceback)


def _check_digests(info: ArchiveInfo, folder: Path) -> Check:
    if not info.digests and info.handler.get("sdk_version"):
        return Check("digests", False, f"{DIGESTS} is missing")
    if not info.digests:
        return Check("digests", None, f"a plain archive: it has no {DIGESTS}")
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    del paths[DIGESTS]
    found = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}
    wrong = sorted(name for name in {*found, *info.digests} if found.get(name) != info.digests.get(name))
    if wrong:
        return Check("digests", False, f"changed since packing: {', '.join(wrong[:3])}")
    return Check("digests", True, f"{len(found)} files are as they were packed")


def _run(info: ArchiveInfo, folder: Path, timeout: float) -> tuple[Sequence[Check], str | None]:
    done: list[Check] = []
    try:
        with run_worker(folder, timeout=timeout) as worker:
            done.append(Check("loads", True, worker.loaded))
            if not info.golden:
                return (*done, Check("golden", None, "the archive has no golden requests")), None
            bodies = [*(golden.body for golden in info.golden), b"this is no image"]
            answers = worker.ask(*bodies, headers=EVERYTHING).answers
    except WorkerError as fault:
        return (*done, Check("golden" if done else "loads", False, "the handler raised")), fault.traceback
    return (*done, _check_golden(info, answers), _check_isolation(info, answers[-1])), None


def _check_golden(info: ArchiveInfo, answers: Sequence[tuple[int, Any]]) -> Check:
    wrong = [
        difference(golden, answer) if status == 200 else f"{golden.name}: status {status}: {answer}"
        for golden, (status, answer) in zip(info.golden, answers, strict=False)
    ]
    first = next((text for text in wrong if text), None)
    return Check("golden", first is None, first or f"{len(info.golden)} requests are answered as expected")


def _check_isolation(info: ArchiveInfo, answer: tuple[int, Any]) -> Check:
    """Whether a broken image fails alone; a handler may take any bytes for an image."""
    status, content = answer
    if status == 200 or not info.handler.get("sdk_version"):
        return Check("isolation", None, f"bytes that are no image are answered: {str(content)[:80]}")
    return Check("isolation", status in range(400, 500), f"a broken image among them gets status {status}")
