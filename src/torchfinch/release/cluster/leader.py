"""Only one controller acts: the one that holds the Lease. Who loses it ends at once, before another may begin.

The official client's election costs two requests every two seconds, trusts the wall clock, and goes on for ten seconds
after it has seen another holder; this one costs one request per renewal and knows nothing but monotonic time.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from datetime import UTC, datetime
from typing import NoReturn

from torchfinch.console import err
from torchfinch.release.cluster.api import Api, ApiError, Object
from torchfinch.release.cluster.kinds import Kind

LEASE = "torchfinch-controller"
_LEASES = Kind("Lease", "coordination.k8s.io", "v1", "leases")
_LEASE_SECONDS = 15
"""Another may begin when the Lease was not renewed for so long."""
_HELD_SECONDS = 10.0
"""So long after a renewal its holder may act: what is still under way then has ended before another begins."""
_RENEW_SECONDS = 5.0
_ASK_SECONDS = 2.0
"""Between two tries of who does not hold it, or could not renew it."""


def _seconds() -> float:
    """Of a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """The Lease of one namespace, as seen by `identity`."""

    def __init__(
        self,
        api: Api,
        *,
        namespace: str,
        identity: str,
        clock: Callable[[], float] = _seconds,
    ) -> None:
        self._api = copy(api)  # whose own changes ask nobody whether it is held
        self._namespace = namespace
        self._identity = identity
        self._clock = clock
        self._own: Object | None = None
        """What our last renewal left: while nobody has changed it, a renewal need not read."""
        self._renewed: float | None = None
        self._seen = ("", 0.0)
        """The version that another holder has left, and when it was first seen."""

    def held(self) -> bool:
        """Whether this process may act."""
        return self._renewed is not None and self._clock() - self._renewed < _HELD_SECONDS

    def take(self) -> bool:
        """Take or renew the Lease; False where another holds it.

        Raises:
            ApiError: the API server refused or did not answer. Whether the Lease is still held, `held` tells.
        """
        asked = self._clock()
        found = self._own or self._found()
        if found and not self._free(found, asked):
            self._renewed = None
            return False
        try:
            self._own = self._write(found)
        except ApiError as error:
            self._own = None
            if error.status == 409:  # somebody was faster, or our last renewal came through and its answer did not
                return self.take()
            raise
        self._renewed = asked
        return True

    def release(self) -> None:
        """Let another begin at once."""
        own, self._renewed = self._own, None
        if own:
            spec = {**own["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
            self._api.replace(self._path(LEASE), {**own, "spec": spec})

    def _free(self, found: Object, now: float) -> bool:
        """Nobody holds it, or whoever does has not renewed it for as long as this process has watched."""
        holder, version = found["spec"].get("holderIdentity"), found["metadata"]["resourceVersion"]
        if not holder or holder == self._identity:
            return True
        if version != self._seen[0]:
            self._seen = version, now
        return now - self._seen[1] > float(found["spec"].get("leaseDurationSeconds", _LEASE_SECONDS))

    def _found(self) -> Object | None:
        try:
            return self._api.get(self._path(LEASE))
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def _write(self, found: Object | None) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = found["spec"] if found else {}
        mine = old.get("holderIdentity") == self._identity
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": _LEASE_SECONDS,
            "acquireTime": old["acquireTime"] if mine else now,
            "renewTime": now,
            "leaseTransitions": old.get("leaseTransitions", 0) + (bool(found) and not mine),
        }
        if found:
            return self._api.replace(self._path(LEASE), {**found, "spec": spec})
        head = {"apiVersion": "coordination.k8s.io/v1", "kind": _LEASES.name, "metadata": {"name": LEASE}}
        return self._api.create(self._path(), {**head, "spec": spec})

    def _path(self, name: str = "") -> str:
        return _LEASES.path(self._namespace, name)


def lead(api: Api, work: Callable[[], None], *, namespace: str, identity: str) -> NoReturn:
    """Wait for the Lease, do `work` while it is held, and end the process when it is lost or `work` ends.

    The process ends without tidying up: whatever still runs in it might act beside the next leader. SIGTERM and Ctrl-C
    give the Lease back, so that the next one need not wait.
    """
    lease = Lease(api, namespace=namespace, identity=identity)
    api.may_change = lease.held
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        while not _taken(lease):
            time.sleep(_ASK_SECONDS)
        worker = threading.Thread(target=work, name="work", daemon=True)
        worker.start()
        pause = _RENEW_SECONDS
        while lease.held() and worker.is_alive():
            time.sleep(pause)
            pause = _RENEW_SECONDS if _taken(lease) else _ASK_SECONDS
    except (SystemExit, KeyboardInterrupt):
        with suppress(ApiError):
            lease.release()
        os._exit(0)
    err.print("the Lease is lost" if worker.is_alive() else "the work has ended")
    os._exit(1)


def _taken(lease: Lease) -> bool:
    try:
        return lease.take()
    except ApiError as error:
        err.print(str(error), markup=False, soft_wrap=True)
        return False
