"""A copy of all objects of some kinds, kept by watching, so that an idle release costs the API server nothing."""

import threading
import time
from collections.abc import Callable, Iterable

from torchfinch.release.cluster.api import Api, ApiError, Object
from torchfinch.release.cluster.kinds import SLICES, Kind

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
        self._lock = threading.Lock()
        self._lists = {kind: threading.Event() for kind in self._objects}
        self.changed: Callable[[Kind, Object], None] = lambda *_: None
        self._slices: dict[Key, dict[Key, Object]] = {}

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
        self._take(kind, found)

    def slices(self, namespace: str, service: str) -> list[Object]:
        """The EndpointSlices of a Service."""
        return list(self._slices.get((namespace, service), {}).values())

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
        found = {key_of(each): each for each in listed["items"]}
        for key, each in list(self._objects[kind].items()):
            if key not in found:
                self._drop(kind, each)
        for each in found.values():
            self._take(kind, each)
        self._lists[kind].set()
        return str(listed["metadata"]["resourceVersion"])

    def _watch(self, kind: Kind, version: str) -> str:
        for event in self._api.watch(kind.path(self._namespace), version, seconds=_WATCH_SECONDS):
            found = event["object"]
            version = found["metadata"]["resourceVersion"]
            if event["type"] == "DELETED":
                self._drop(kind, found)
            elif event["type"] != "BOOKMARK":
                self._take(kind, found)
        return version

    def _take(self, kind: Kind, found: Object) -> None:
        """Keep an object, unless a newer form of it is here: a watch tells late what was known from a write."""
        key = key_of(found)
        with self._lock:
            known = self._objects[kind].get(key)
            if known and _version(known) >= _version(found):
                return
            self._objects[kind][key] = trimmed(found)
            if kind is SLICES:
                self._slices.setdefault(service_of(found), {})[key] = found
        self.changed(kind, found)

    def _drop(self, kind: Kind, found: Object) -> None:
        key = key_of(found)
        with self._lock:
            self._objects[kind].pop(key, None)
            if kind is SLICES:
                self._slices.get(service_of(found), {}).pop(key, None)
        self.changed(kind, found)


def trimmed(found: Object) -> Object:
    """The object without its record of field managers, which is often longer than all the rest."""
    found["metadata"].pop("managedFields", None)
    return found


def key_of(found: Object) -> Key:
    """Namespace and name of an object."""
    return found["metadata"]["namespace"], found["metadata"]["name"]


def service_of(found: Object) -> Key:
    """Namespace and name of the Service that an EndpointSlice belongs to."""
    namespace, name = key_of(found)
    return namespace, found["metadata"].get("labels", {}).get("kubernetes.io/service-name", name)


def _version(found: Object) -> int:
    """Versions of one object can be compared as numbers (documented since Kubernetes 1.35, true before)."""
    return int(found["metadata"]["resourceVersion"])
