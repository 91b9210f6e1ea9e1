"""What TorchServe and its workers wrote, made readable."""

import os
import re
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

_LINE = re.compile(r"^\d\d:\d\d:\d\d \w+ +(\S+) - (.*)$")
_FAILED = re.compile(r"Failed to load model |Load model \S+ \w+ OOM|Backend worker process died")
"""What TorchServe's worker says before the traceback that ends it, and before no other."""
_DIED = re.compile(r"Load model failed: (\S+), error: Worker died")
_RAISED = re.compile(r"[^\W\d][\w.]*(: .*)?$")
"""The last line of a traceback: an exception's name, and what it says."""
_GPUS = re.compile(r"^Number of GPUs: (\d+)$", re.MULTILINE)


def loading_failure(log: Path) -> str | None:
    """The traceback that ended the first worker of all that died, without the log's prefixes; `None` while none did.

    Handlers may write tracebacks of what they caught; those end nothing. TorchServe ends a worker that failed while it
    still writes, so a traceback may be torn: then that of the next try is taken.
    """
    found = _said(log)
    starts = (i for i, (_, text) in enumerate(found) if _FAILED.match(text))
    # several workers write to one log, each under its own name
    told = ([text for writer, text in found[i + 1 :] if writer == found[i][0]] for i in starts)
    return next(filter(None, map(_traceback, told)), None)


def dying(log: Path) -> str | None:
    """The model of which one worker ended three times while it loaded; `None` where none did.

    Who writes a traceback has written a whole one by then: see `loading_failure`.
    """
    ended = Counter((writer, died[1]) for writer, text in _said(log) if (died := _DIED.match(text)))
    return next((model for (_, model), times in ended.items() if times > 2), None)


def _said(log: Path) -> list[tuple[str, str]]:
    """Who wrote each line, and what."""
    return [(match[1], match[2]) for match in map(_LINE.match, _read(log).splitlines()) if match]


def _traceback(lines: list[str]) -> str | None:
    end = next((i for i, text in enumerate(lines[1:], start=1) if text and not text.startswith(" ")), None)
    return "\n".join(lines[: end + 1]) if end and _RAISED.match(lines[end]) else None


def gpus(log: Path) -> int:
    """How many GPUs TorchServe found when it started; `CUDA_VISIBLE_DEVICES` and `number_of_gpu` lower its number."""
    found = _GPUS.search(_read(log))
    return int(found[1]) if found else 0


def follow(log: Path) -> Generator[list[str], None, None]:
    """The lines that were added since the last batch, without end; the first batch is empty.

    The log is found by its name each time, for a log that is rolled goes on in a new file.
    """
    stream = log.open("rb")
    try:
        stream.seek(0, os.SEEK_END)
        while True:
            rolled = _rolled(log, stream)
            lines = stream.readlines()
            if rolled:
                stream.close()
                stream = log.open("rb")
                lines += stream.readlines()
            yield [line.decode(errors="replace").rstrip() for line in lines]
    finally:
        stream.close()


def _rolled(log: Path, stream: BinaryIO) -> bool:
    try:
        named = log.stat()
    except FileNotFoundError:  # between the two files
        return False
    return named.st_ino != os.fstat(stream.fileno()).st_ino or named.st_size < stream.tell()


def tail(folder: Path, lines: int = 15) -> str:
    """The last lines of what an instance wrote."""
    text = _read(folder / "logs" / "output.log") + _read(folder / "logs" / "server.log")
    return "\n".join(text.splitlines()[-lines:])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
