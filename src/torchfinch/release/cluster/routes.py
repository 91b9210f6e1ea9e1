"""The weights of the versions' backends in a route that belongs to somebody else: read them, and change just them.

In the route of a user the controller touches their weights, one annotation and, in a shadow phase, one filter, by a
JSON patch that fails where the route has changed since it was read.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torchfinch.errors import TorchfinchError
from torchfinch.release.cluster.api import Object
from torchfinch.release.cluster.kinds import HTTP_ROUTES, VIRTUAL_SERVICES, Kind
from torchfinch.release.cluster.marks import annotate, read_mark, unchanged, unmark
from torchfinch.release.cluster.mirrors import mirror_patch, mirrored, without_mirror
from torchfinch.release.decision.baseline import baseline_share
from torchfinch.release.manifest.backends import HTTPRoute, VirtualService
from torchfinch.release.state import Mark

Patch = tuple[Kind, Object, list[Object]]
"""An object as it was read, its kind, and a JSON patch for it."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """What a route shows."""

    weight: int
    """The canary's percentage of the traffic of all versions."""
    mark: Mark | None
    synced: bool
    mirror: int = 0
    """Percent of the requests that are copied to the canary."""
    baseline: int | None = None
    """The baseline's percentage; None where not every rule has it among its backends."""
    trouble: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Place:
    """Where a backend stands in the route: its path as a JSON pointer, its name and its weight."""

    path: str
    name_path: str
    name: str
    weight: int


@dataclass(frozen=True)
class _Rule:
    path: str
    written: Object
    stable: _Place
    canary: _Place
    baseline: _Place | None
    others: int
    """Weight of backends that are none of them."""


class Dialect(ABC):
    """How one kind of route spells rules, backends and weights."""

    kind: Kind
    rules: str
    backends: str
    name: tuple[str, ...]
    default_weight: int

    @abstractmethod
    def synced(self, route: Object) -> tuple[bool, str]:
        """Whether the route's newest form is taken up, and what its controller says against it."""


class GatewayApi(Dialect):
    """HTTPRoute: `spec.rules[].backendRefs[].{name, weight}`; its status tells what was taken up."""

    kind, rules, backends, name, default_weight = HTTP_ROUTES, "rules", "backendRefs", ("name",), 1

    def synced(self, route: Object) -> tuple[bool, str]:
        """Accepted by every parent, in its newest generation."""
        parents = route.get("status", {}).get("parents", [])
        conditions = [each for parent in parents for each in parent.get("conditions", [])]
        accepted = [each for each in conditions if each["type"] in {"Accepted", "ResolvedRefs"}]
        said = "; ".join(each.get("message", "") for each in accepted if each["status"] != "True")
        newest = all(each.get("observedGeneration") == route["metadata"]["generation"] for each in accepted)
        return bool(accepted) and newest and not said, f"the route is not accepted: {said}" if said else ""


class Istio(Dialect):
    """VirtualService: `spec.http[].route[].{destination.host, weight}`; Istio does not tell what was taken up."""

    kind, rules, backends, name, default_weight = VIRTUAL_SERVICES, "http", "route", ("destination", "host"), 0

    def synced(self, route: Object) -> tuple[bool, str]:  # noqa: ARG002  the protocol's
        """Nothing to wait for."""
        return True, ""


def dialect(route: HTTPRoute | VirtualService) -> Dialect:
    """The dialect of a route in a spec."""
    return GatewayApi() if isinstance(route, HTTPRoute) else Istio()


@dataclass(frozen=True)
class RouteWeights:
    """The split of `route` between the Services `stable` and `canary`, in every rule that has both or in one `rule`.

    The Service `baseline` has a part in it where it is among them. All methods raise `TorchfinchError` where no rule
    has both.
    """

    route: Object
    speaks: Dialect
    rule: str | None
    stable: str
    canary: str
    baseline: str | None = None
    baseline_answers: bool = False
    """Whether it may have traffic."""

    def read(self) -> Split:
        """The split and the mark; the greatest of several splits."""
        rules = self._rules()
        shares = {_share(each, each.canary) for each in rules}
        synced, said = self.speaks.synced(self.route)
        trouble = [said] if said else []
        if len(shares) > 1:
            trouble.append(f"the rules split differently ({', '.join(f'{each} %' for each in sorted(shares))})")
        mark = read_mark(self.route)
        wanted = mark.mirror if mark else 0
        copied = {mirrored(each.written, self.canary) for each in rules}
        beside = [_share(each, each.baseline) for each in rules if each.baseline]
        return Split(
            weight=max(shares),
            mark=mark,
            mirror=max(copied - {wanted}, default=wanted),
            baseline=max(beside) if len(beside) == len(rules) else None,
            synced=synced and len(shares) == 1,
            trouble=tuple(trouble),
        )

    def split_rules(self) -> list[Object]:
        """The rules that split, as their owner wrote them."""
        return [without_mirror(rule.written, self.canary) for rule in self._rules()]

    def patches(self, mark: Mark, *, release: str) -> list[Patch]:
        """One JSON patch that sets weights, mirror and mark in every rule, and fails where the route has changed."""
        return [(self.speaks.kind, self.route, self._changed(mark.weight, mark.mirror, mark, release))]

    def balanced(self, *, release: str) -> list[Patch]:
        """A JSON patch that gives the baseline its share at the weight that is set, and stable the rest."""
        split = self.read()
        return [(self.speaks.kind, self.route, self._changed(split.weight, split.mirror, split.mark, release))]

    def marked(self, mark: Mark, *, release: str) -> list[Patch]:
        """A JSON patch that sets the mark beside the weights as they are."""
        annotation = self._annotation(mark, release, beside=bool(self.read().baseline))
        return [(self.speaks.kind, self.route, [*unchanged(self.route), *annotation])]

    def cleared(self) -> list[Object]:
        """A JSON patch that gives stable all traffic and takes the mark away."""
        return [*self._set(0, 0), unmark()]

    def _set(self, weight: int, mirror: int) -> list[Object]:
        patch = unchanged(self.route)
        for rule in self._rules():
            total = _total(rule)
            own = round(total * weight / 100)
            shares = [(rule.canary, own)]
            if rule.baseline:
                beside = min(round(total * self._beside(weight, mirror) / 100), total - own)
                shares.append((rule.baseline, beside))
            rest = total - sum(share for _, share in shares)
            for place, share in (*shares, (rule.stable, rest)):
                patch.append({"op": "test", "path": place.name_path, "value": place.name})
                patch.append({"op": "add", "path": f"{place.path}/weight", "value": share})
            patch += mirror_patch(rule.written, rule.path, self.canary, mirror)
        return patch

    def _changed(self, weight: int, mirror: int, mark: Mark | None, release: str) -> list[Object]:
        patch = self._set(weight, mirror)
        if mark is None:
            return patch
        return [*patch, *self._annotation(mark, release, beside=self._beside(weight, mirror) > 0)]

    def _annotation(self, mark: Mark, release: str, *, beside: bool) -> list[Object]:
        """The mark; the baseline is named where it has a share, else there is nothing of it to clear."""
        backends = {"stable": self.stable, "canary": self.canary, "rule": self.rule}
        baseline = {"baseline": self.baseline} if beside else {}
        return annotate(self.route, mark, release=release, backends={**backends, **baseline})

    def _beside(self, weight: int, mirror: int) -> int:
        return baseline_share(weight=weight, mirror=mirror) if self.baseline_answers else 0

    def _rules(self) -> list[_Rule]:
        found = [rule for rule in map(self._rule, range(len(self._all()))) if rule]
        if not found:
            where = f"rule {self.rule} of" if self.rule else "rule of"
            name = f"{self.speaks.kind.name} {self.route['metadata']['name']}"
            message = f"no {where} {name} has both {self.stable} and {self.canary}"
            raise TorchfinchError(message, "add both with weights 100 and 0")
        return found

    def _rule(self, number: int) -> _Rule | None:
        rule = self._all()[number]
        path = f"/spec/{self.speaks.rules}/{number}"
        places = {_short(place.name): place for place in _places(rule, path, self.speaks)}
        chosen = not self.rule or rule.get("name") == self.rule
        if not chosen or not {self.stable, self.canary} <= places.keys():
            return None
        stable, canary = places.pop(self.stable), places.pop(self.canary)
        baseline = places.pop(self.baseline, None) if self.baseline else None
        return _Rule(path, rule, stable, canary, baseline, others=sum(place.weight for place in places.values()))

    def _all(self) -> list[Object]:
        return list(self.route["spec"].get(self.speaks.rules, []))


def _places(rule: Object, path: str, speaks: Dialect) -> Iterator[_Place]:
    backends = rule.get(speaks.backends, [])
    alone = speaks.default_weight == 0 and len(backends) == 1
    for number, backend in enumerate(backends):
        value: Any = backend
        for part in speaks.name:
            value = value.get(part, {}) if isinstance(value, dict) else {}
        weight = backend.get("weight", 100 if alone else speaks.default_weight)
        here = f"{path}/{speaks.backends}/{number}"
        yield _Place(here, "/".join((here, *speaks.name)), str(value), int(weight))


def _short(host: str) -> str:
    return host.partition(".")[0]


def _share(rule: _Rule, place: _Place | None) -> int:
    total = _weight(rule)
    return round(100 * place.weight / total) if place and total else 0


def _weight(rule: _Rule) -> int:
    return rule.stable.weight + rule.canary.weight + (rule.baseline.weight if rule.baseline else 0)


def _total(rule: _Rule) -> int:
    """The weight of all versions: 100, or what they have beside another backend, whose share must stay."""
    total = _weight(rule)
    if not rule.others:
        return 100
    if total < 100:
        raise TorchfinchError(
            f"beside another backend, {rule.stable.name} and {rule.canary.name} together have weight {total}",
            "give them at least 100 together, so that one percent can be set",
        )
    return total
