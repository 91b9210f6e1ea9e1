"""The controller's mark in an annotation of what it splits: whose it is, what was decided, and how to give it back.

It is written by the patch that sets the weights, so a successor after a kill knows its own work.
"""

import json

from pydantic import TypeAdapter, ValidationError

from torchfinch.release.cluster.api import Object
from torchfinch.release.cluster.kinds import DEPLOYMENTS, Kind
from torchfinch.release.state import Mark

ANNOTATION = "torchfinch.dev/release"
_POINTER = f"/metadata/annotations/{ANNOTATION.replace('/', '~1')}"
_MARK = TypeAdapter(Mark)


def read_mark(found: Object) -> Mark | None:
    """The controller's mark in an annotation; None where there is none that can be read."""
    text = found["metadata"].get("annotations", {}).get(ANNOTATION)
    try:
        return _MARK.validate_python(json.loads(text)["mark"]) if text else None
    except (ValueError, KeyError, TypeError, ValidationError):
        return None


def owner(found: Object) -> tuple[str, Object] | None:
    """The CanaryRelease whose mark a route carries, and the backends that it splits."""
    text = found["metadata"].get("annotations", {}).get(ANNOTATION)
    try:
        content = json.loads(text) if text else {}
        return str(content["release"]), dict(content["backends"])
    except (ValueError, KeyError, TypeError):
        return None


def without_mark(found: Object) -> Object:
    """The object as it would be without anybody's mark."""
    metadata = found["metadata"]
    kept = {key: value for key, value in metadata.get("annotations", {}).items() if key != ANNOTATION}
    return {**found, "metadata": {**metadata, "annotations": kept}}


def unmark() -> Object:
    """The operation that takes the mark away."""
    return {"op": "remove", "path": _POINTER}


def names(release: Object, kind: Kind, found: Object) -> bool:
    """Whether a CanaryRelease names this object as what splits its traffic: a route, or the canary's Deployment."""
    spec, name = release["spec"], found["metadata"]["name"]
    if kind is DEPLOYMENTS:
        return bool(spec["route"]["kind"] == "Replicas" and spec["canary"]["deployment"] == name)
    return bool(spec["route"]["kind"] == kind.name and spec["route"].get("name") == name)


def unchanged(found: Object) -> list[Object]:
    """The test that an object is still as it was read."""
    return [{"op": "test", "path": "/metadata/resourceVersion", "value": found["metadata"]["resourceVersion"]}]


def annotate(found: Object, mark: Mark, *, release: str, backends: Object | None = None) -> list[Object]:
    """Operations that leave the mark in an object, with what is needed to clear it when its release is gone."""
    content = {"release": release, "backends": backends, "mark": _MARK.dump_python(mark, mode="json")}
    text = json.dumps(content)
    if "annotations" not in found["metadata"]:
        return [{"op": "add", "path": "/metadata/annotations", "value": {ANNOTATION: text}}]
    return [{"op": "add", "path": _POINTER, "value": text}]
