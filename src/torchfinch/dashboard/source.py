"""Where the page's releases come from: a protocol, and the releases of this machine."""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args

from torchfinch.errors import TorchfinchError
from torchfinch.release.local.store import FileStore
from torchfinch.release.state import State
from torchfinch.report.decisions import Record
from torchfinch.report.releases import by_release

Word = Literal["pause", "resume", "skip", "promote", "abort", "retry"]
WORDS: tuple[Word, ...] = get_args(Word)


@dataclass(frozen=True)
class Standing:
    """Where a release stands."""

    name: str
    state: State
    newest: Record | None
    """The controller's last look, as a line of the history."""


@dataclass(frozen=True)
class Story:
    """A release from its beginning."""

    standing: Standing
    releases: Sequence[Sequence[Record]]
    """The records of each release that went through, the last one's last."""
    notes: Sequence[str] = field(default=())
    """What a person should know of it beside its records."""


class Source(Protocol):
    """Releases by name. Every call may raise `TorchfinchError`, and may come from any thread."""

    @property
    def place(self) -> str:
        """Where they are, in a person's words."""

    def standings(self) -> Sequence[Standing]:
        """All of them, by name."""

    def story(self, name: str) -> Story:
        """One of them."""

    def ask(self, name: str, word: Word) -> None:
        """Tell its controller what a person wants."""


class LocalReleases:
    """The releases in a folder, read anew at each call, as far as they have grown."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "releases"
        self._histories: dict[str, _History] = {}
        self._lock = threading.Lock()

    @property
    def place(self) -> str:
        """The folder."""
        return str(self._folder)

    def standings(self) -> Sequence[Standing]:
        """Those that a controller has begun."""
        return [self._standing(store) for store in self._stores()]

    def story(self, name: str) -> Story:
        """One of them.

        Raises `TorchfinchError` where there is none of this name.
        """
        store = self._store(name)
        records = self._records(store)
        alone = f"No controller runs: torchfinch canary run MANIFEST goes on with {name}."
        notes = () if store.controlled else (alone,)
        return Story(self._standing(store), by_release(records) if records else (), notes)

    def ask(self, name: str, word: Word) -> None:
        """Leave a wish beside the release."""
        store = self._store(name)
        if word == "pause":
            store.ask(paused=True)
        else:
            store.ask(word, paused=False if word == "resume" else None)

    def _stores(self) -> list[FileStore]:
        return [store for folder in sorted(self._folder.glob("*")) if (store := FileStore(folder)).exists]

    def _store(self, name: str) -> FileStore:
        for store in self._stores():
            if store.folder.name == name:
                return store
        raise TorchfinchError(f"there is no release {name} in {self._folder}", "torchfinch canary run MANIFEST")

    def _standing(self, store: FileStore) -> Standing:
        records = self._records(store)
        try:
            state = store.load()
        except TorchfinchError as error:  # the others are there to be seen
            state = State(reason=str(error))
        return Standing(store.folder.name, state, records[-1] if records else None)

    def _records(self, store: FileStore) -> list[Record]:
        with self._lock:
            return self._histories.setdefault(store.folder.name, _History(store.history)).read()


class _History:
    """The lines of a history without what only a replay needs; what has been read is not read again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._end = 0
        self._records: list[Record] = []

    def read(self) -> list[Record]:
        """All whole lines so far."""
        size = self._path.stat().st_size if self._path.exists() else 0
        if size < self._end:  # put aside, and begun again
            self._end, self._records = 0, []
        if size > self._end:
            with self._path.open("rb") as stream:
                stream.seek(self._end)
                news = stream.read()
            whole = news[: news.rfind(b"\n") + 1]
            self._end += len(whole)
            self._records = [*self._records, *filter(None, map(_parse, whole.splitlines()))]
        return self._records


def _parse(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:  # what a kill left
        return None
    return {key: value for key, value in record.items() if key != "input"} if isinstance(record, dict) else None
