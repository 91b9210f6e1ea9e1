"""Keeps the route of forced versions as it should be."""

from torchfinch.errors import TorchfinchError
from torchfinch.release.cluster.api import Api, Object
from torchfinch.release.cluster.cache import Cache
from torchfinch.release.cluster.forced import belongs_to, detached, forced_name, forced_route, is_as
from torchfinch.release.cluster.kinds import HTTP_ROUTES, RELEASES
from torchfinch.release.cluster.routes import RouteWeights
from torchfinch.release.manifest.options import Force
from torchfinch.release.state import Role


class Choices:
    """The HTTPRoute by which requests choose the version of one release."""

    def __init__(self, api: Api, cache: Cache, *, namespace: str, name: str) -> None:
        self._api = api
        self._cache = cache
        self._namespace = namespace
        self._release = name
        self._name = forced_name(name)

    def keep(self, force: Force | None, split: RouteWeights | None, *, weight: int) -> tuple[str, ...]:
        """Make or change the route, where it is not as it should be: a canary can be chosen while it has a weight.

        Without `force`, or without an HTTPRoute that splits, one that was made hangs on no gateway any more. What fails
        is returned: it must stop neither a look nor a rollback.
        """
        release = self._cache.get(RELEASES, self._namespace, self._release)
        if release is None:
            return ()
        try:
            wanted = self._wanted(force, split, release, weight) if force and split else None
            self._apply(self._own(release, needed=bool(wanted)), wanted)
        except TorchfinchError as error:
            return (f"versions cannot be chosen: {error.message}",)
        return ()

    def _own(self, release: Object, *, needed: bool) -> Object | None:
        found = self._cache.get(HTTP_ROUTES, self._namespace, self._name)
        if not found or belongs_to(found, release):
            return found
        if needed:
            raise TorchfinchError(f"HTTPRoute {self._name} is somebody else's")
        return None

    def _wanted(self, force: Force, split: RouteWeights, release: Object, weight: int) -> Object:
        choices: dict[Role, str] = {"stable": split.stable, **({"canary": split.canary} if weight else {})}
        return forced_route(release, split.route, force, choices, rules=split.split_rules())

    def _apply(self, found: Object | None, wanted: Object | None) -> None:
        path, change = HTTP_ROUTES.path(self._namespace), wanted or detached()
        if found is None and wanted:
            self._cache.put(HTTP_ROUTES, self._api.create(path, wanted))
        elif found and not is_as(found, change):
            self._cache.put(HTTP_ROUTES, self._api.merge(f"{path}/{self._name}", change))
