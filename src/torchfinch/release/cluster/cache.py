"""A copy of all objects of some kinds, kept by watching, so that an idle release costs the API server nothing."""

import threading
import time
from collections.abc import Callable, Iterable

from torchfinch.release.cluster.api import Api, ApiError, Object
from torchfinch.release.cluster.kinds import Kind

_WATCH_SECONDS = 300
_LONGEST_PAUSE = 30.0

Key = tuple[str, str]
"""Namespace and name."""


class Cache:
    """Objects by kind, namespace and name. `changed` is told of each object that is new, different or gone."""

    def __init__(self, api: Api, kinds: Iterable[Kind], *, namespace: str | None = None) -> None:
        self._api = api
        self._namespace = namespace
        self._objects: dict[Kind, dict[Key, Object]] = {kind: {} for kind in kinds}
        self._lists = {kind: threading.Event() for kind in self._objects}
        self.changed: Callable[[Kind, Object], None] = lambda *_: None
        self.seen_at: dict[Kind, float] = {}
        """Monotonic time at which the server last said something about a kind."""

    def start(self) -> None:
        """Begin to watch; returns when everything has been listed once."""
        for kind in self._objects:
            threading.Thread(target=self._follow, args=(kind,), name=f"watch-{kind.plural}", daemon=True).start()
        for listed in self._lists.values():
            listed.wait()

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The newest known state of an object."""
        return self._objects[kind].get((namespace, name))

    def all(self, kind: Kind) -> list[Object]:
        """Every object of a kind."""
        return list(self._objects[kind].values())

    def put(self, kind: Kind, found: Object) -> None:
        """Take in the answer to a write, so that the next look does not see what was there before it."""
        self._objects[kind][_key(found)] = trimmed(found)

    def _follow(self, kind: Kind) -> None:
        """List, then watch from there, and again: after a break, an expired version, a server that was gone."""
        version, pause = "", 1.0
        while True:
            try:
                version = self._watch(kind, version) if version else self._list(kind)
                pause = 1.0
            except ApiError as error:
                if error.status == 404 and kind.optional:
                    self._lists[kind].set()
                    pause = _LONGEST_PAUSE
                version = ""
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _list(self, kind: Kind) -> str:
        listed = self._api.get(kind.path(self._namespace))
        found = {_key(each): trimmed(each) for each in listed["items"]}
        before = self._objects[kind]
        self._objects[kind] = found
        self._lists[kind].set()
        self.seen_at[kind] = time.monotonic()
        for key in before.keys() | found.keys():
            if before.get(key) != found.get(key):
                self.changed(kind, found.get(key) or before[key])
        return str(listed["metadata"]["resourceVersion"])

    def _watch(self, kind: Kind, version: str) -> str:
        for event in self._api.watch(kind.path(self._namespace), version, seconds=_WATCH_SECONDS):
            found = event["object"]
            version = found["metadata"]["resourceVersion"]
            self.seen_at[kind] = time.monotonic()
            if event["type"] == "BOOKMARK":
                continue
            if event["type"] == "DELETED":
                self._objects[kind].pop(_key(found), None)
            else:
                self._objects[kind][_key(found)] = trimmed(found)
            self.changed(kind, found)
        return version


def trimmed(found: Object) -> Object:
    """The object without its record of field managers, which is often longer than all the rest."""
    found["metadata"].pop("managedFields", None)
    return found


def _key(found: Object) -> Key:
    return found["metadata"]["namespace"], found["metadata"]["name"]
