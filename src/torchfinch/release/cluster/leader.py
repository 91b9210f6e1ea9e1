"""Only one controller acts: the one that holds the Lease. Who loses it ends at once, before another may begin."""

import logging
import os
from collections.abc import Callable
from typing import Any

import urllib3
from kubernetes import client
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

LEASE = "torchfinch-controller"
_LEASE_SECONDS = 15
_RENEW_SECONDS = 10
_RETRY_SECONDS = 2
_REQUEST_SECONDS = 5.0


class _Lock:
    """The client's lock, with a deadline for every request; a server that is gone is a failed try and not the end."""

    def __init__(self, name: str, namespace: str, identity: str) -> None:
        self.name, self.namespace, self.identity = name, namespace, identity
        self._lock: Any = LeaseLock(name, namespace, identity)
        rest = self._lock.api_instance.api_client.rest_client
        request = rest.request
        rest.request = lambda *args, **options: request(*args, **{**options, "_request_timeout": _REQUEST_SECONDS})

    def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        try:
            found: tuple[bool, Any] = self._lock.get(name, namespace)
        except urllib3.exceptions.HTTPError as error:
            return False, client.ApiException(status=0, reason=str(error))
        return found

    def create(self, name: str, namespace: str, election_record: Any) -> bool:
        try:
            return bool(self._lock.create(name, namespace, election_record))
        except urllib3.exceptions.HTTPError:
            return False

    def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        try:
            return bool(self._lock.update(name, namespace, updated_record))
        except urllib3.exceptions.HTTPError:
            return False


def lead(work: Callable[[], None], *, namespace: str, identity: str) -> None:
    """Wait for the Lease, do `work` while it is held, and end the process when it is lost or `work` ends.

    The process ends without tidying up: whatever still runs in it might act beside the next leader.
    """
    logging.getLogger("leaderelection").setLevel(logging.WARNING)
    config = electionconfig.Config(
        _Lock(LEASE, namespace, identity),
        lease_duration=_LEASE_SECONDS,
        renew_deadline=_RENEW_SECONDS,
        retry_period=_RETRY_SECONDS,
        onstarted_leading=work,
        onstopped_leading=lambda: os._exit(1),
    )
    leaderelection.LeaderElection(config).run()
