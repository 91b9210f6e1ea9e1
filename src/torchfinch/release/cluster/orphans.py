"""Splits whose CanaryRelease is gone: their traffic belongs to stable. There is no finalizer that could hang."""

from collections.abc import Iterator

from torchfinch.errors import TorchfinchError
from torchfinch.release.cluster.api import Api, Object
from torchfinch.release.cluster.cache import Cache, Key
from torchfinch.release.cluster.kinds import HTTP_ROUTES, RELEASES, VIRTUAL_SERVICES, Kind
from torchfinch.release.cluster.routes import GatewayApi, Istio, RouteWeights, owner

_DIALECTS = {HTTP_ROUTES: GatewayApi(), VIRTUAL_SERVICES: Istio()}


def sweep(api: Api, cache: Cache, *, only: Key | None = None) -> Iterator[str]:
    """Give stable all traffic of every orphaned split, or of one release's; yields the routes' names."""
    for kind in _DIALECTS:
        for route in cache.all(kind):
            patch = _orphan(cache, kind, route, only)
            if not patch:
                continue
            namespace, name = route["metadata"]["namespace"], route["metadata"]["name"]
            try:
                cache.put(kind, api.patch(kind.path(namespace, name), patch))
            except TorchfinchError:
                continue  # changed or gone meanwhile; a changed route is swept at the next start
            yield f"{kind.name} {namespace}/{name}"


def _orphan(cache: Cache, kind: Kind, route: Object, only: Key | None) -> list[Object]:
    owned = owner(route)
    if owned is None:
        return []
    key = (route["metadata"]["namespace"], owned[0])
    if only not in {None, key} or cache.get(RELEASES, *key):
        return []
    try:
        return RouteWeights(route, _DIALECTS[kind], **owned[1]).cleared()
    except (TorchfinchError, TypeError):  # a person has taken the split apart
        return []
