"""Objects of a cluster as the API server has them, for what needs no cluster."""

import json
from pathlib import Path
from typing import Any

from torchfinch.release.state import Mark, Phase

Object = dict[str, Any]
MARK = Mark(revision=3, phase=Phase.PROGRESSING, canary="c", weight=25, reason="going on")
SPEC: dict[str, Any] = {
    "model": "digits",
    "stable": {"deployment": "digits-stable"},
    "canary": {"deployment": "digits-canary"},
    "route": {"kind": "HTTPRoute", "name": "digits"},
    "steps": [{"weight": 5}],
}
CHECK = {"name": "orders", "webhook": "http://shop.test/orders", "successCondition": "> 0.9"}


def deployment(track: str, *, image: str = "digits:1.0", replicas: int = 2, **status: Any) -> Object:
    full = {"observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas, "availableReplicas": replicas}
    labels = {"app": "digits", "track": track}
    return {
        "metadata": {
            "name": f"digits-{track}",
            "namespace": "d",
            "generation": 1,
            "resourceVersion": "7",
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "s", "image": image}]}},
        },
        "status": {**full, **status},
    }


def http_route(*weights: int, annotations: Object | None = None) -> Object:
    backends = [
        {"name": f"digits-{track}", "port": 8080, "weight": weight, "filters": ["kept"]}
        for track, weight in zip(("stable", "canary", "other"), weights, strict=False)
    ]
    accepted = [{"type": kind, "status": "True", "observedGeneration": 4} for kind in ("Accepted", "ResolvedRefs")]
    metadata: Object = {"name": "digits", "namespace": "d", "generation": 4, "resourceVersion": "9"}
    return {
        "metadata": {**metadata, **({"annotations": annotations} if annotations is not None else {})},
        "spec": {
            "rules": [{"name": "health", "backendRefs": [{"name": "x"}]}, {"backendRefs": backends}],
        },
        "status": {"parents": [{"conditions": accepted}]},
    }


def write_kubeconfig(path: Path, server: str) -> Path:
    """A file that leads to an API server without users."""
    config = {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    path.write_text(json.dumps(config))
    return path


def applied(found: Object, patch: list[Object]) -> Object:
    """A JSON patch applied to an object, its tests too."""
    for operation in patch:
        *parents, last = [part.replace("~1", "/") for part in operation["path"].split("/")[1:]]
        place: Any = found
        for part in parents:
            place = place[int(part) if isinstance(place, list) else part]
        key: Any = int(last) if isinstance(place, list) and last.isdigit() else last
        if operation["op"] == "test":
            assert place[key] == operation["value"]
        elif operation["op"] == "remove":
            del place[key]
        elif key == "-":
            place.append(operation["value"])
        else:
            place[key] = operation["value"]
    return found
