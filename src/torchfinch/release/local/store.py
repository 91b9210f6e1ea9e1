"""A release's folder: state, history, a person's request, and the lock that keeps a second controller out."""

import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from torchfinch.errors import TorchfinchError
from torchfinch.files import write_whole
from torchfinch.release.adapters import Request
from torchfinch.release.manifest.spec import Action, Spec
from torchfinch.release.state import State

Value = TypeVar("Value")

_STATE = TypeAdapter(State)
_REQUEST = TypeAdapter(Request)
_LAST_BYTES = 256 * 1024
_HISTORY_BYTES = 64 * 2**20
"""A longer history is put aside as `history.1.jsonl` when it is next opened."""


def release_folder(name: str, *, home: Path) -> Path:
    """Where everything about the release `name` is kept."""
    return home / "releases" / name


class FileStore:
    """State, history and requests as files in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.history = folder / "history.jsonl"

    @property
    def name(self) -> str:
        """The release's."""
        return self.folder.name

    @property
    def exists(self) -> bool:
        """Whether a controller has ever run here."""
        return (self.folder / "state.json").exists()

    def load(self) -> State:
        """The last state saved; a new one where there is none."""
        return self._read("state.json", _STATE) or State()

    def save(self, spec: Spec, state: State) -> None:  # noqa: ARG002  the protocol's
        """Keep `state`, whole or not at all."""
        write_whole(self.folder / "state.json", _STATE.dump_json(state, indent=2))

    def refuse(self, why: str) -> None:
        """Nothing: whoever starts the controller is told by its error."""

    def append(self, record: dict[str, Any]) -> None:
        """Add one line to the history and see it written; a half line that a kill left is ended first."""
        line = json.dumps(record, separators=(",", ":")) + "\n"
        with self.history.open("ab+") as stream:
            if _ends_amid_line(stream):
                line = "\n" + line
            stream.write(line.encode())
            stream.flush()

    def request(self) -> Request:
        """What a person asked for last."""
        return self._read("request.json", _REQUEST) or Request()

    def ask(
        self,
        action: Literal["promote", "abort", "retry", "skip", "resume"] | None = None,
        *,
        paused: bool | None = None,
    ) -> None:
        """Leave a wish for the controller; a new one takes the place of the one before."""
        before = self.request()
        wish = Action(type=action, id=f"{action}-{uuid.uuid4().hex[:12]}") if action else before.action
        request = Request(paused=before.paused if paused is None else paused, action=wish)
        write_whole(self.folder / "request.json", _REQUEST.dump_json(request))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only controller of this release.

        Raises `TorchfinchError` where another process is. The system frees the lock when its holder ends in any way.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a+") as stream:
            if not _lock(stream):
                stream.seek(0)
                holder = stream.read().strip() or "unknown"
                raise TorchfinchError(
                    f"release {self.folder.name} has a controller already, process {holder}",
                    f"torchfinch canary watch {self.folder.name}",
                )
            stream.truncate(0)
            stream.write(str(os.getpid()))
            stream.flush()
            self._put_history_aside()
            yield

    @property
    def controlled(self) -> bool:
        """Whether a controller is at work here."""
        try:
            with (self.folder / "lock").open() as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def _put_history_aside(self) -> None:
        if self.history.exists() and self.history.stat().st_size > _HISTORY_BYTES:
            self.history.replace(self.folder / "history.1.jsonl")

    def _read(self, name: str, kind: TypeAdapter[Value]) -> Value | None:
        path = self.folder / name
        try:
            return kind.validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            hint = "put back a copy that is whole, or move the file away to start anew"
            raise TorchfinchError(f"{path} cannot be read: {error.error_count()} faults", hint) from error


def _lock(stream: IO[str]) -> bool:
    """Take the lock; tried for a moment, since `controlled` holds it too for as long as it takes to look."""
    for _ in range(10):
        with suppress(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.03)
    return False


def _ends_amid_line(stream: Any) -> bool:
    if stream.seek(0, os.SEEK_END) == 0:
        return False
    stream.seek(-1, os.SEEK_END)
    return bool(stream.read(1) != b"\n")


def last_record(path: Path) -> dict[str, Any] | None:
    """The newest whole line of a history, or None."""
    if not path.exists():
        return None
    with path.open("rb") as stream:
        stream.seek(max(stream.seek(0, os.SEEK_END) - _LAST_BYTES, 0))
        lines = stream.read().splitlines()
    return next((record for record in map(_parse, reversed(lines)) if record), None)


def read_history(path: Path) -> list[dict[str, Any]]:
    """The lines of a history, oldest first; a half line that a kill left is passed over."""
    return [record for record in map(_parse, path.read_bytes().splitlines()) if record]


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
