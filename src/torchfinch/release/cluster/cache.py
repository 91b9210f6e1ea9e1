"""A copy of all objects of some kinds, kept by watching, so that an idle release costs the API server nothing."""

import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from torchfinch.release.cluster.api import Api, ApiError, Object
from torchfinch.release.cluster.kinds import SLICES, Kind

_WATCH_SECONDS = 40
"""A watch that hangs is noticed after so long; a new one goes on from the last version, and costs one request."""
_TRIES = 3
_LONGEST_PAUSE = 10.0
_UNKNOWN_PAUSE = 60.0
"""Seconds between two looks for a kind that the cluster does not know."""
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

Key = tuple[str, str]
"""Namespace and name."""


class Cache:
    """Objects by kind, namespace and name.

    `changed` is told of each object that others made, changed (then also what it was before) or deleted, `trouble` of
    what keeps a kind from being seen.
    """

    def __init__(self, api: Api, kinds: Iterable[Kind], *, namespace: str | None = None) -> None:
        self._api = api
        self._namespace = namespace
        self._objects: dict[Kind, dict[Key, Object]] = {kind: {} for kind in kinds}
        self._lock = threading.Lock()
        self._lists = {kind: threading.Event() for kind in self._objects}
        self._versions: dict[Kind, str] = {}
        self._slices: dict[Key, dict[Key, Object]] = {}
        self.changed: Callable[[Kind, Object, Object | None], None] = lambda *_: None
        self.trouble: Callable[[str], None] = lambda _: None

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
        """Take in the answer to a request, so that the next look does not see what was there before it.

        An object that a watch has seen go meanwhile does not come back by this.
        """
        self._take(kind, found, new=False)

    def slices(self, namespace: str, service: str) -> list[Object]:
        """The EndpointSlices of a Service."""
        return list(self._slices.get((namespace, service), {}).values())

    def _follow(self, kind: Kind) -> None:
        """List, then watch from there, and after every break go on from the last version that was seen."""
        failures = 0
        while True:
            try:
                if kind in self._versions:
                    self._watch(kind)
                else:
                    self._list(kind)
                failures = 0
            except Exception as error:  # noqa: BLE001  whatever it was: nobody would notice a kind that is not watched
                failures = 0 if _unknown(kind, error) else failures + 1
                time.sleep(self._pause(kind, error, failures))

    def _pause(self, kind: Kind, error: Exception, failures: int) -> float:
        """Seconds until the next try, which lists everything again where the version has expired or cannot be used.

        `failures` is 0 where the cluster does not know an optional kind.
        """
        if not failures:
            self._lists[kind].set()
            return _UNKNOWN_PAUSE
        if (isinstance(error, ApiError) and error.status == 410) or failures == _TRIES:
            self._versions.pop(kind, None)
        if failures == _TRIES:
            self.trouble(f"{kind.plural} cannot be seen: {error}")
        return min(2.0 ** min(failures - 1, _TRIES + 1), _LONGEST_PAUSE)

    def _list(self, kind: Kind) -> None:
        listed, version = self._api.list_all(kind.path(self._namespace))
        found = {key_of(each): each for each in listed}
        for key, each in list(self._objects[kind].items()):
            if key not in found:
                self._drop(kind, each)
        for each in found.values():
            self._take(kind, each)
        self._versions[kind] = version
        self._lists[kind].set()

    def _watch(self, kind: Kind) -> None:
        path, version = kind.path(self._namespace), self._versions[kind]
        for event in self._api.watch(path, version, seconds=_WATCH_SECONDS):
            found = event["object"]
            if event["type"] == "DELETED":
                self._drop(kind, found)
            elif event["type"] != "BOOKMARK":
                self._take(kind, found)
            self._versions[kind] = found["metadata"]["resourceVersion"]

    def _take(self, kind: Kind, found: Object, *, new: bool = True) -> None:
        """Keep an object, unless a newer form of it is here: a watch tells late what was known from a write."""
        key = key_of(found)
        with self._lock:
            known = self._objects[kind].get(key)
            if not (known or new):
                return
            if known and _version(known) >= _version(found):
                return
            self._objects[kind][key] = kept = trimmed(found)
            if kind is SLICES:
                self._slices.setdefault(service_of(found), {})[key] = kept
        if new:
            self.changed(kind, found, known)

    def _drop(self, kind: Kind, found: Object) -> None:
        key = key_of(found)
        with self._lock:
            self._objects[kind].pop(key, None)
            if kind is SLICES:
                self._slices.get(service_of(found), {}).pop(key, None)
        self.changed(kind, found, None)


def trimmed(found: Object) -> Object:
    """The object without what nobody reads and what is often longer than all the rest, in a third less memory."""
    metadata = found["metadata"]
    metadata.pop("managedFields", None)
    if _APPLIED in metadata.get("annotations", {}):  # the key stays: a patch must know that there are annotations
        metadata["annotations"][_APPLIED] = ""
    kept: Object = _shared(found)
    return kept


def _shared(value: Any) -> Any:
    """The same value, whose strings are those of all other objects that have the same."""
    if isinstance(value, dict):
        return {sys.intern(key): _shared(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shared(inner) for inner in value]
    return sys.intern(value) if isinstance(value, str) else value


def key_of(found: Object) -> Key:
    """Namespace and name of an object."""
    return found["metadata"]["namespace"], found["metadata"]["name"]


def generation(found: Object) -> int:
    """Of an object's spec; a change of the status leaves it as it was."""
    return int(found["metadata"]["generation"])


def service_of(found: Object) -> Key:
    """Namespace and name of the Service that an EndpointSlice belongs to."""
    namespace, name = key_of(found)
    return namespace, found["metadata"].get("labels", {}).get("kubernetes.io/service-name", name)


def _version(found: Object) -> int:
    """Versions of one object can be compared as numbers (documented since Kubernetes 1.35, true before)."""
    return int(found["metadata"]["resourceVersion"])


def _unknown(kind: Kind, error: Exception) -> bool:
    return kind.optional and isinstance(error, ApiError) and error.status == 404
