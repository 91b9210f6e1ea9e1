"""The controller process of a cluster: one loop per release under way, all driven by a bounded pool of workers.

Changes are watched, never polled: a release at rest is looked at when something of it changes, and costs nothing
otherwise. A release under way is looked at every `analysis.interval`.
"""

import json
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TextIO

from torchfinch.errors import TorchfinchError
from torchfinch.release.adapters import Outcomes
from torchfinch.release.cluster.api import Api, ApiError, Object
from torchfinch.release.cluster.cache import Cache, Key, generation, key_of, service_of
from torchfinch.release.cluster.evidence import ClusterEvidence
from torchfinch.release.cluster.fetcher import Fetcher
from torchfinch.release.cluster.kinds import DEPLOYMENTS, HTTP_ROUTES, RELEASES, SLICES, VIRTUAL_SERVICES, Kind
from torchfinch.release.cluster.orphans import HeldError, Orphan, give_back, orphans
from torchfinch.release.cluster.queue import Queue
from torchfinch.release.cluster.resource import names_of, parse_spec
from torchfinch.release.cluster.router import ClusterRouter
from torchfinch.release.cluster.store import StatusStore
from torchfinch.release.controller import Controller, Tick
from torchfinch.release.differ import Differ
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.state import UNDERWAY, Phase, Role

KINDS = (RELEASES, DEPLOYMENTS, SLICES, HTTP_ROUTES, VIRTUAL_SERVICES)
_SOON = 0.05
_AGAIN = 1.0
_LONGEST_PAUSE = 60.0


class Operator:
    """Drives every CanaryRelease of a namespace, or of the cluster."""

    def __init__(
        self,
        api: Api,
        *,
        namespace: str | None = None,
        workers: int = 8,
        outcomes: Outcomes | None = None,
        inputs: Path | None = None,
        records: Path | None = None,
        log: TextIO = sys.stdout,
    ) -> None:
        self._api = api
        self._inputs = inputs
        self._records = records
        self._outcomes = outcomes
        self._log = log
        self._workers = workers
        self._cache = Cache(api, KINDS, namespace=namespace)
        self._fetcher = Fetcher()
        self._queue = Queue()
        self._releases: dict[Key, Controller] = {}
        self._tries: dict[Key, int] = {}
        """Looks one after the other that failed, or that had something to do."""
        self._interested: dict[tuple[Kind, Key], set[Key]] = {}

    def run(self) -> None:
        """Work until the process ends."""
        self._cache.changed = self._changed
        self._cache.trouble = lambda text: self._say(trouble=text)
        self._cache.start()
        for release in {*map(key_of, self._cache.all(RELEASES)), *(each.release for each in orphans(self._cache))}:
            self._queue.put(release, _SOON)
        self._say(started=f"{len(self._cache.all(RELEASES))} releases")
        threads = [threading.Thread(target=self._work, name=f"worker-{n}", daemon=True) for n in range(self._workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self) -> None:
        while True:
            key = self._queue.take()
            try:
                again = self._turn(key)
            finally:
                self._queue.done(key)
            if again is not None:
                self._queue.put(key, again)

    def _turn(self, key: Key) -> float | None:
        """One look at a release; the seconds until the next, None where only a change leads to one."""
        found = self._cache.get(RELEASES, *key)
        try:
            if found is None:
                return self._forget(key)
            tick = self._look(key, found)
        except ApiError as error:
            return self._failed(key, error, soon=error.status in {404, 409, 422})
        except Exception as error:  # noqa: BLE001  one release that nobody foresaw must not end the worker of all others
            return self._failed(key, error, soon=False)
        self._tries[key] = self._tries.get(key, 0) + 1 if tick.decision.actions else 0
        return _next(tick, tries=self._tries[key], wrote=self._cache.get(RELEASES, *key) is not found)

    def _look(self, key: Key, found: Object) -> Tick:
        self._watch_for(key, found)
        if key not in self._releases:
            self._releases[key] = self._controller(key)
        return self._releases[key].tick()

    def _failed(self, key: Key, error: Exception, *, soon: bool) -> float:
        """When to try again: at once after a conflict, ever later after other faults."""
        failures = self._tries[key] = self._tries.get(key, 0) + 1
        if not soon or failures > 3:
            self._say(release="/".join(key), trouble=str(error) or repr(error))
        return _SOON if soon and failures <= 3 else min(_AGAIN * 2 ** min(failures, 6), _LONGEST_PAUSE)

    def _controller(self, key: Key) -> Controller:
        namespace, name = key

        def read_spec() -> Spec:
            found = self._cache.get(RELEASES, namespace, name)
            if found is None:
                raise ApiError(f"CanaryRelease {name} is gone", 404)
            return parse_spec(found)

        router = ClusterRouter(self._api, self._cache, namespace=namespace, name=name)
        evidence = ClusterEvidence(self._fetcher, router.endpoints, namespace=namespace)
        store = StatusStore(
            self._api,
            self._cache,
            namespace=namespace,
            name=name,
            view=lambda: router.view,
            measured=lambda: evidence.problem,
            log=self._log,
            records=self._records,
        )
        return Controller(
            read_spec=read_spec,
            router=router,
            evidence=evidence,
            store=store,
            differ=Differ(partial(_pods, router), self._inputs),
            outcomes=self._outcomes,
        )

    def _changed(self, kind: Kind, found: Object, known: Object | None) -> None:
        """Look soon at every release that this object belongs to."""
        key = service_of(found) if kind is SLICES else key_of(found)
        if kind is not RELEASES:
            self._wake(kind, key)
        elif not known or generation(known) != generation(found):  # else it is the status that was written here
            self._queue.put(key, _SOON)
            for left, name in names_of(known) if known else ():  # another release may have waited for it
                self._wake(left, (key[0], name))

    def _wake(self, kind: Kind, key: Key) -> None:
        for release in tuple(self._interested.get((kind, key), ())):  # another worker may be adding one
            self._queue.put(release, _SOON)

    def _watch_for(self, key: Key, found: Object) -> None:
        for kind, name in names_of(found):
            self._interested.setdefault((kind, (key[0], name)), set()).add(key)

    def _forget(self, key: Key) -> float | None:
        """A deleted release: its traffic goes back to stable, also where it was deleted while no controller ran."""
        self._releases.pop(key, None)
        gone = [self._given_back(orphan) for orphan in list(orphans(self._cache)) if orphan.release == key]
        if not all(gone):
            return _AGAIN
        for interested in list(self._interested.values()):
            interested.discard(key)
        self._tries.pop(key, None)
        return None

    def _given_back(self, orphan: Orphan) -> bool:
        """Whether no more can be done for a split whose release is gone."""
        release = "/".join(orphan.release)
        try:
            if not give_back(self._api, self._cache, orphan):
                return False
        except (ApiError, HeldError):
            raise
        except TorchfinchError as error:  # a person has taken the split apart
            self._say(release=release, trouble=str(error))
        else:
            self._say(release=release, note=f"deleted: all traffic of {orphan.name} is on stable")
            self._changed(orphan.kind, orphan.found, None)  # for others that wait for it: a watch tells no own writes
        return True

    def _say(self, **words: str) -> None:
        print(json.dumps({"time": time.time(), **words}), file=self._log, flush=True)


def _pods(router: ClusterRouter, spec: Spec, role: Role) -> list[str]:
    """Where the pods of a version that can answer take the requests of a diff."""
    addresses = router.endpoints(spec, role).ready.values()
    return [f"http://{address}:{spec.diff.port}" for address in addresses if spec.diff]


def _next(tick: Tick, *, tries: int, wrote: bool) -> float | None:
    """Seconds until the next look; None where only a change leads to one.

    Whether what was done has come about is looked at soon, and then ever later, up to once per interval.
    """
    state, interval = tick.decision.state, tick.spec.analysis.interval
    if tries:
        return min(interval, _AGAIN * 2.0 ** min(tries - 1, 6))
    if state.phase in UNDERWAY or state.phase is Phase.ROLLING_BACK:
        return interval
    if wrote:  # at rest, one look follows each that had something to say
        return _SOON
    delay = tick.spec.scale_down_delay
    if tick.seen.beside_stable and delay is not None and state.ended is not None:
        return max(state.ended + delay - tick.time, _AGAIN)
    return None
