"""What TorchServe and its workers wrote, made readable."""

import re
from pathlib import Path

_LINE = re.compile(r"^\d\d:\d\d:\d\d \w+ +(\S+) - (.*)$")
_TRACEBACK = "Traceback (most recent call last)"


def first_traceback(log: Path) -> str | None:
    """The first complete traceback that a worker wrote, without the log's prefixes; `None` while there is none."""
    found = [match.groups() for match in map(_LINE.match, _read(log).splitlines()) if match]
    start = next((i for i, (_, text) in enumerate(found) if text.startswith(_TRACEBACK)), None)
    if start is None:
        return None
    # several workers write to one log, each under its own name
    lines = [text for writer, text in found[start:] if writer == found[start][0]]
    end = next((i for i, text in enumerate(lines[1:], start=1) if text and not text.startswith(" ")), None)
    return None if end is None else "\n".join(lines[: end + 1])


def tail(folder: Path, lines: int = 15) -> str:
    """The last lines of what an instance wrote."""
    text = _read(folder / "logs" / "output.log") + _read(folder / "logs" / "server.log")
    return "\n".join(text.splitlines()[-lines:])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
