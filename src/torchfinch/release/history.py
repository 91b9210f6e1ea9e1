"""The history of a release as a file: a line of JSON for every look, which watching, report and replay read."""

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

Record = dict[str, Any]

_LAST_BYTES = 256 * 1024
_MOST_BYTES = 64 * 2**20


def append_record(path: Path, record: Record) -> None:
    """Add one line to a history and see it written; a half line that a kill left is ended first."""
    line = json.dumps(record, separators=(",", ":")) + "\n"
    with path.open("ab+") as stream:
        if _ends_amid_line(stream):
            line = "\n" + line
        stream.write(line.encode())
        stream.flush()


def put_aside(path: Path) -> None:
    """Begin anew where a history is longer than 64 MiB: `history.jsonl` takes the place of `history.jsonl.1`."""
    if path.exists() and path.stat().st_size > _MOST_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))


def last_record(path: Path) -> Record | None:
    """The newest whole line of a history, or None."""
    if not path.exists():
        return None
    with path.open("rb") as stream:
        stream.seek(max(stream.seek(0, os.SEEK_END) - _LAST_BYTES, 0))
        lines = stream.read().splitlines()
    return next((record for record in map(_parse, reversed(lines)) if record), None)


def read_history(path: Path) -> list[Record]:
    """The lines of a history, oldest first; a half line that a kill left is passed over."""
    return [record for record in map(_parse, path.read_bytes().splitlines()) if record]


def _ends_amid_line(stream: BinaryIO) -> bool:
    if stream.seek(0, os.SEEK_END) == 0:
        return False
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) != b"\n"


def _parse(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
