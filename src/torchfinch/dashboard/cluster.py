"""The CanaryReleases of a cluster, as far as their status and what was seen since the page was opened go."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

from torchfinch.dashboard.source import Standing, Story, Word
from torchfinch.release.cluster.api import Api, Object
from torchfinch.release.cluster.kinds import RELEASES
from torchfinch.release.cluster.records import decisions, newest
from torchfinch.release.cluster.resource import wish
from torchfinch.release.cluster.status import read_state
from torchfinch.report.decisions import Record

_MOST = 2000
"""Looks of one release that are kept."""
_SHARED_SECONDS = 1.5
"""So long all open pages share one listing; each asks every two seconds."""


class ClusterReleases:
    """The releases of a namespace, or of all; asked of the API server whenever somebody looks."""

    def __init__(self, api: Api, *, namespace: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._namespace = namespace
        self._clock = clock
        self._listing = threading.Lock()
        self._listed: tuple[float, list[Standing]] | None = None
        self._known: dict[str, tuple[str, Standing]] = {}
        self._looks: dict[tuple[str, float | None], list[Record]] = {}
        self._lock = threading.Lock()

    @property
    def place(self) -> str:
        """The namespace."""
        return f"namespace {self._namespace}" if self._namespace else "all namespaces"

    def standings(self) -> Sequence[Standing]:
        """Every CanaryRelease; one whose spec cannot be read has no numbers."""
        with self._listing:
            if self._listed is None or self._clock() - self._listed[0] >= _SHARED_SECONDS:
                self._listed = self._clock(), self._list()
            return self._listed[1]

    def story(self, name: str) -> Story:
        """One of them: the decisions that its status keeps, and every look since the page was opened."""
        found = self._api.get(self._path(name))
        standing = self._standing(found)
        with self._lock:
            looks = list(self._looks.get((name, standing.state.started), ()))
        if standing.newest is None or not standing.state.canary:
            return Story(standing, ())
        kept = [each for each in _decisions(found) if each["time"] >= (standing.state.started or 0.0)]
        return Story(standing, (sorted((*kept, *looks), key=lambda record: float(record["time"])),))

    def ask(self, name: str, word: Word) -> None:
        """Change the spec, with the rights of whoever opened the page."""
        self._api.merge(self._path(name), {"spec": wish(word)})
        with self._listing:
            self._listed = None

    def _list(self) -> list[Standing]:
        """All of them as they are now; what was known of others is forgotten."""
        standings = [self._standing(found) for found in self._api.list_all(RELEASES.path(self._namespace))[0]]
        names = {standing.name for standing in standings}
        with self._lock:
            self._known = {name: known for name, known in self._known.items() if name in names}
            self._looks = {release: looks for release, looks in self._looks.items() if release[0] in names}
        return standings

    def _path(self, name: str) -> str:
        namespace, _, own = name.rpartition("/")
        return RELEASES.path(namespace or self._namespace, own)

    def _standing(self, found: Object) -> Standing:
        """Where it stands, worked out only where it has changed: most of many releases are at rest."""
        meta = found["metadata"]
        name = meta["name"] if self._namespace else f"{meta['namespace']}/{meta['name']}"
        version, standing = self._known.get(name, ("", None))
        if standing is None or version != meta["resourceVersion"]:
            standing = _read(name, found)
            with self._lock:
                self._known[name] = (meta["resourceVersion"], standing)
            if standing.newest:
                self._keep((name, standing.state.started), standing.newest)
        return standing

    def _keep(self, release: tuple[str, float | None], record: Record) -> None:
        with self._lock:
            for old in [known for known in self._looks if known[0] == release[0] and known != release]:
                del self._looks[old]
            looks = self._looks.setdefault(release, [])
            if not looks or looks[-1]["time"] < record["time"]:
                looks.append(record)
                del looks[:-_MOST]


def _read(name: str, found: Object) -> Standing:
    state = read_state(found.get("status", {}))
    record = {**newest(found), "actions": []} if state.at else None
    return Standing(name, state, record)


def _decisions(found: Object) -> Iterator[Record]:
    """As lines of the history; the status keeps times in whole seconds, so a decision came before the next one."""
    last = newest(found)
    promoted = last["stable"]["digest"] == read_state(found.get("status", {})).canary
    arms = {"stable": last["canary"], "canary": last["stable"]} if promoted else last
    for record in decisions(found):
        sides = last if record["phase"] == "Promoted" else arms
        told = {role: {**record[role], **_names(sides[role])} for role in ("stable", "canary")}
        yield {**record, **told, "time": record["time"] + 0.999, "checks": [], "actions": []}


def _names(arm: Record) -> Record:
    return {"digest": arm["digest"], "label": arm["label"]}
