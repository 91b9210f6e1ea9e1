"""The route of the controller's own, for requests that choose their version by a header or a cookie. Pure.

It has the rules of the user's route that split, each with one header match more, so that it comes before them by the
precedence of the Gateway API. The CanaryRelease owns it: it is deleted with it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torchfinch.release.cluster.api import Object
from torchfinch.release.cluster.kinds import HTTP_ROUTES, RELEASES
from torchfinch.release.manifest.options import Force
from torchfinch.release.state import Role

_EVERYTHING = {"path": {"type": "PathPrefix", "value": "/"}}
_OWN = ("name", "matches", "backendRefs", "sessionPersistence")
"""Parts of a rule that are not taken over."""


def forced_name(release: str) -> str:
    """The route's name."""
    return f"{release}-forced"


def forced_route(
    release: Object, route: Object, force: Force, choices: Mapping[Role, str], *, rules: Iterable[Object]
) -> Object:
    """The route as it should be: for each of `rules`, which split the user's `route`, the Services to choose from."""
    metadata, spec = release["metadata"], route["spec"]
    return {
        "apiVersion": f"{HTTP_ROUTES.group}/{HTTP_ROUTES.version}",
        "kind": HTTP_ROUTES.name,
        "metadata": {
            "name": forced_name(metadata["name"]),
            "namespace": metadata["namespace"],
            "ownerReferences": [
                {
                    "apiVersion": f"{RELEASES.group}/{RELEASES.version}",
                    "kind": RELEASES.name,
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                }
            ],
        },
        "spec": {
            **{key: spec[key] for key in ("parentRefs", "hostnames") if key in spec},
            "rules": [each for rule in rules for each in _choices(rule, force, choices)],
        },
    }


def belongs_to(found: Object, release: Object) -> bool:
    """Whether the route is that of the release, and not somebody else's of the same name."""
    owners = found["metadata"].get("ownerReferences", [])
    return release["metadata"]["uid"] in {owner["uid"] for owner in owners}


def detached() -> Object:
    """A change after which a route that nobody wants any more hangs on no gateway; it needs no right to delete."""
    return {"spec": {"parentRefs": []}}


def is_as(found: Any, wanted: Any) -> bool:
    """Whether an object has all that is wanted of it; what the API server added by itself does not count."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(key in found and is_as(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        same = isinstance(found, list) and len(found) == len(wanted)
        return same and all(map(is_as, found, wanted))
    return bool(found == wanted)


def _choices(rule: Object, force: Force, choices: Mapping[Role, str]) -> Iterator[Object]:
    rest = {key: value for key, value in rule.items() if key not in _OWN}
    for role, name in choices.items():
        backend = next(each for each in rule["backendRefs"] if each["name"] == name)
        matches = [
            {**match, "headers": [*match.get("headers", []), header]}
            for match in rule.get("matches", [_EVERYTHING])
            for header in _headers(force, role)
        ]
        reference = {key: value for key, value in backend.items() if key != "weight"}
        yield {**rest, "matches": matches, "backendRefs": [reference]}


def _headers(force: Force, role: Role) -> Iterator[Object]:
    if force.header:
        yield {"type": "Exact", "name": force.header, "value": role}
    if force.cookie:
        yield {"type": "RegularExpression", "name": "Cookie", "value": force.cookie_pattern(role)}
