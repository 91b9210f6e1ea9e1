"""Splits whose CanaryRelease is gone: their traffic belongs to stable. There is no finalizer that could hang."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torchfinch.errors import TorchfinchError
from torchfinch.release.cluster.api import Api, ApiError, Object
from torchfinch.release.cluster.cache import Cache, Key, key_of
from torchfinch.release.cluster.kinds import DEPLOYMENTS, HTTP_ROUTES, RELEASES, VIRTUAL_SERVICES, Kind
from torchfinch.release.cluster.marks import ANNOTATION, owner
from torchfinch.release.cluster.replicas import Ratio
from torchfinch.release.cluster.routes import GatewayApi, Istio, Patch, RouteWeights
from torchfinch.release.cluster.workloads import endpoints_in

_DIALECTS = {HTTP_ROUTES: GatewayApi(), VIRTUAL_SERVICES: Istio()}


class HeldError(TorchfinchError):
    """The split stays for now: stable could not take its traffic."""


@dataclass(frozen=True)
class Orphan:
    """An object that carries the mark of a release that is gone."""

    release: Key
    kind: Kind
    found: Object
    backends: Object

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.kind.name} {'/'.join(key_of(self.found))}"


def orphans(cache: Cache) -> Iterator[Orphan]:
    """Every split that nobody drives."""
    for kind in (*_DIALECTS, DEPLOYMENTS):
        for found in cache.all(kind):
            owned = owner(found)
            release = (found["metadata"]["namespace"], owned[0]) if owned else None
            if owned and release and not cache.get(RELEASES, *release):
                yield Orphan(release, kind, found, owned[1])


def give_back(api: Api, cache: Cache, orphan: Orphan) -> bool:
    """Give stable all traffic of an orphaned split, and take the mark away; whether that is done.

    Where pods are the weight it is done again until they have gone, as stable's become ready.

    Raises:
        ApiError: the split has changed since it was read, and is read anew; or the API server does not answer.
        HeldError: stable has no ready endpoint, and the canary, which has traffic, has one.
        TorchfinchError: a person has taken the split apart.
    """
    for kind, found, patch in _patches(cache, orphan):
        path = kind.path(*key_of(found))
        try:
            cache.put(kind, api.patch(path, patch))
        except ApiError as error:
            if error.status in {409, 422}:
                cache.put(kind, api.get(path))
            raise
    left = cache.get(orphan.kind, *key_of(orphan.found))
    return left is None or owner(left) is None


def _patches(cache: Cache, orphan: Orphan) -> Iterable[Patch]:
    if orphan.kind is DEPLOYMENTS:
        stable = cache.get(DEPLOYMENTS, orphan.release[0], str(orphan.backends.get("stable")))
        if stable is None:
            raise TorchfinchError(f"the Deployment of stable beside {orphan.name} is gone")
        return Ratio(stable, orphan.found).cleared()
    try:
        weights = RouteWeights(orphan.found, _DIALECTS[orphan.kind], **orphan.backends)
    except TypeError as error:
        raise TorchfinchError(f"the annotation {ANNOTATION} of {orphan.name} cannot be read") from error
    _hold(cache, orphan, weights)
    return [(orphan.kind, orphan.found, weights.cleared())]


def _hold(cache: Cache, orphan: Orphan, weights: RouteWeights) -> None:
    """Moving traffic to a stable version that cannot answer is an outage."""
    stable, canary = (
        endpoints_in(cache.slices(orphan.release[0], service)).ready for service in (weights.stable, weights.canary)
    )
    share = weights.read().weight
    if share and canary and not stable:
        raise HeldError(
            f"deleted, but {weights.stable} has no ready endpoint: {orphan.name} keeps {share} % on {weights.canary}"
        )
