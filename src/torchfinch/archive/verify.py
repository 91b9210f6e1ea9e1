"""Prove an archive: digests, loading in a fresh process with only the archive on its path, golden requests."""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from torchfinch.archive.golden import difference
from torchfinch.archive.read import DIGESTS, ArchiveInfo, read_archive, unpack


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
        report = _run(folder, timeout) if digests.ok is not False else {"traceback": None, "answers": []}
    if digests.ok is False:
        return Verification(info, (digests,))
    loads = Check("loads", report["traceback"] is None, report["loaded"])
    return Verification(info, (digests, loads, *_check_answers(info, report)), report["traceback"])


def _check_digests(info: ArchiveInfo, folder: Path) -> Check:
    if not info.digests:
        return Check("digests", None, f"a plain archive: it has no {DIGESTS}")
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    del paths[DIGESTS]
    found = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}
    wrong = sorted(name for name in {*found, *info.digests} if found.get(name) != info.digests.get(name))
    if wrong:
        return Check("digests", False, f"changed since packing: {', '.join(wrong[:3])}")
    return Check("digests", True, f"{len(found)} files are as they were packed")


def _run(folder: Path, timeout: float) -> dict[str, Any]:
    package = Path(str(resources.files("torchfinch")))
    output = folder.parent / "report.json"
    command: list[str | Path] = [
        sys.executable,
        "-I",
        package / "archive" / "verify_worker.py",
        package / "testing.py",
        folder,
        output,
    ]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, cwd=folder)
    except subprocess.TimeoutExpired:
        return {"loaded": "", "traceback": f"no answer within {timeout:g} s", "answers": []}
    if not output.exists():
        return {"loaded": "", "traceback": process.stderr[-4000:] or f"exit code {process.returncode}", "answers": []}
    report: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return report


def _check_answers(info: ArchiveInfo, report: dict[str, Any]) -> Sequence[Check]:
    if report["traceback"] is not None:
        return ()
    if not info.golden:
        return (Check("golden", None, "the archive has no golden requests"),)
    answers = report["answers"]
    wrong = [
        difference(golden, answer) if status == 200 else f"{golden.name}: status {status}: {answer}"
        for golden, (status, answer) in zip(info.golden, answers, strict=False)
    ]
    first = next((text for text in wrong if text), None)
    golden = Check("golden", first is None, first or f"{len(info.golden)} requests are answered as expected")
    status, answer = answers[-1]
    isolated = Check("isolation", status == 400, f"a broken image among them gets status {status}")
    return (golden, isolated if info.handler.get("sdk_version") else Check("isolation", None, str(answer)[:80]))
