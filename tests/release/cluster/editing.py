"""Edits objects of a namespace in bursts, so that whoever else writes to them meets conflicts, and ends after all."""

import itertools
import sys
import time

from torchfinch.release.cluster.api import Api, Object
from torchfinch.release.cluster.kinds import DEPLOYMENTS, HTTP_ROUTES, RELEASES, VIRTUAL_SERVICES, Kind

ALL = [{"destination": {"host": "one-stable"}, "weight": 0}, {"destination": {"host": "one-canary"}, "weight": 100}]
EDITED: tuple[tuple[Kind, str, Object], ...] = (
    (RELEASES, "one", {}),
    (HTTP_ROUTES, "one", {}),
    (DEPLOYMENTS, "one-stable", {}),
    (VIRTUAL_SERVICES, "two", {"spec": {"http": [{"route": ALL}]}}),  # a raised weight is put back, again and again
)

BURST = 200

api, namespace = Api(), sys.argv[1]
for number, (kind, name, change) in zip(itertools.count(1), itertools.cycle(EDITED), strict=False):
    api.merge(kind.path(namespace, name), {"metadata": {"annotations": {"edited": str(number)}}, **change})
    if number % BURST == 0:
        time.sleep(1)  # without it the cluster's own controllers never get a write through, on a fast machine
