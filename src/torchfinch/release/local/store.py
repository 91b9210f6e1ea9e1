"""A release's folder: state, history, a person's request, and the lock that keeps a second controller out."""

import fcntl
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
from torchfinch.release.history import append_record, put_aside
from torchfinch.release.manifest.spec import Action, Spec
from torchfinch.release.state import State

Value = TypeVar("Value")

_STATE = TypeAdapter(State)
_REQUEST = TypeAdapter(Request)


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
        """Add one line to the history."""
        append_record(self.history, record)

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
            put_aside(self.history)
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
