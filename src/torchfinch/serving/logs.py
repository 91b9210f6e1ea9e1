"""What TorchServe and its workers wrote, made readable."""

import re
from pathlib import Path

_PREFIX = re.compile(r"^\d\d:\d\d:\d\d \w+ +\S+ - ")


def first_traceback(log: Path) -> str | None:
    """The first complete traceback that a worker wrote, without the log's prefixes; `None` while there is none."""
    lines = [_PREFIX.sub("", line) for line in _read(log).splitlines()]
    start = next((i for i, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")), None)
    if start is None:
        return None
    for end in range(start + 1, len(lines)):
        if lines[end] and not lines[end].startswith((" ", "Traceback", "During", "The above")):
            return "\n".join(lines[start : end + 1])
    return None


def tail(folder: Path, lines: int = 15) -> str:
    """The last lines of what an instance wrote."""
    text = _read(folder / "logs" / "output.log") + _read(folder / "logs" / "server.log")
    return "\n".join(text.splitlines()[-lines:])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
