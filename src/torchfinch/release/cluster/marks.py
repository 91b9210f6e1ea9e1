"""The controller's mark in an annotation of what it splits: whose it is, what was decided, and how to give it back.

It is written by the patch that sets the weights, so a successor after a kill knows its own work.
"""

import json

from pydantic import TypeAdapter, ValidationError

from torchfinch.release.cluster.api import Object
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


def unmark() -> Object:
    """The operation that takes the mark away."""
    return {"op": "remove", "path": _POINTER}


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
