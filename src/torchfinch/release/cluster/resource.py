"""What the custom resource says: its spec, and the names of the objects that it is about."""

import uuid
from collections.abc import Iterator

from pydantic import ValidationError

from torchfinch.errors import TorchfinchError
from torchfinch.release.cluster.api import Object
from torchfinch.release.cluster.kinds import DEPLOYMENTS, HTTP_ROUTES, SLICES, VIRTUAL_SERVICES, Kind
from torchfinch.release.manifest.spec import Spec, first_fault

_ROUTES = {"HTTPRoute": HTTP_ROUTES, "VirtualService": VIRTUAL_SERVICES}


def parse_spec(found: Object) -> Spec:
    """The spec of a CanaryRelease.

    Raises:
        TorchfinchError: something in it is wrong that the schema did not see.
    """
    try:
        return Spec.model_validate(found["spec"])
    except ValidationError as error:
        raise TorchfinchError(first_fault(error, within="spec"), "kubectl explain canary.spec") from error


def names_of(found: Object) -> Iterator[tuple[Kind, str]]:
    """The objects whose changes concern a CanaryRelease."""
    spec = found["spec"]
    for arm in ("stable", "canary", "baseline"):
        source = spec.get(arm) or {}
        if "deployment" in source:
            yield DEPLOYMENTS, source["deployment"]
            yield SLICES, source.get("service") or source["deployment"]
    route = spec.get("route", {})
    if route.get("kind") in _ROUTES:
        yield _ROUTES[route["kind"]], route["name"]


def wish(word: str) -> Object:
    """What `pause`, `resume` or an action changes in a spec; each action is a new one, with an id of its own."""
    paused = {"paused": word == "pause"} if word in {"pause", "resume"} else {}
    action = {} if word == "pause" else {"action": {"type": word, "id": f"{word}-{uuid.uuid4().hex[:12]}"}}
    return {**paused, **action}
