"""The Deployments of both versions: what they run, whether it can answer, and how a version moves between them."""

import hashlib
import json
from collections.abc import Iterable
from copy import deepcopy
from typing import NamedTuple

from torchfinch.release.cluster.api import Object
from torchfinch.release.cluster.marks import unchanged
from torchfinch.release.state import Arm

_RESTARTED = "kubectl.kubernetes.io/restartedAt"
_VERSION = "app.kubernetes.io/version"
_ARCHIVE = "torchfinch.dev/archive"
_HASH = "pod-template-hash"


def digest(deployment: Object) -> str:
    """Identity of what a Deployment's pods run: their template without the labels that only tell the two apart.

    A restart (`kubectl rollout restart`) is no new version.
    """
    template = _portable(deployment)
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()


def label(deployment: Object) -> str:
    """The version in a person's words: the pods' version label, else the tag of the image."""
    template = deployment["spec"]["template"]
    named = template["metadata"].get("labels", {}).get(_VERSION)
    return str(named or template["spec"]["containers"][0]["image"].rpartition("/")[2])


def archive(deployment: Object) -> str:
    """SHA-256 of the archive that the pods serve, where an annotation of theirs tells it."""
    return str(deployment["spec"]["template"]["metadata"].get("annotations", {}).get(_ARCHIVE, ""))


def replicas(deployment: Object) -> int:
    """How many pods are wanted."""
    return int(deployment["spec"].get("replicas", 1))


def rolled_out(deployment: Object) -> bool:
    """Whether every pod is of the newest template, and no older one is left."""
    status = deployment.get("status", {})
    wanted = replicas(deployment)
    return bool(newest(deployment) and status.get("updatedReplicas", 0) == status.get("replicas", 0) == wanted)


def stuck(deployment: Object) -> str:
    """Why the Deployment does not come to its new pods; empty while it may, or tells of an older template."""
    return _told(deployment, "Progressing", "False") if newest(deployment) else ""


def newest(deployment: Object) -> bool:
    """Whether its status is about what it is now."""
    return bool(deployment.get("status", {}).get("observedGeneration", 0) >= deployment["metadata"]["generation"])


def _told(deployment: Object, kind: str, status: str) -> str:
    """What a condition of the Deployment says while it has this status; empty while it has another."""
    for condition in deployment.get("status", {}).get("conditions", []):
        if condition["type"] == kind and condition["status"] == status:
            return str(condition.get("message", condition.get("reason", "")))
    return ""


class Endpoints(NamedTuple):
    """The pods behind a Service, by their names."""

    ready: dict[str, str]
    """Addresses, as a URL writes them, of those that can answer."""
    others: tuple[str, ...]


def endpoints_in(slices: Iterable[Object]) -> Endpoints:
    """The pods in a Service's slices."""
    ready, others = {}, []
    for endpoint in [endpoint for each in slices for endpoint in each.get("endpoints") or []]:
        conditions, address = endpoint.get("conditions", {}), endpoint["addresses"][0]
        name = endpoint.get("targetRef", {}).get("name", address)
        if conditions.get("ready", True) and not conditions.get("terminating"):
            ready[name] = f"[{address}]" if ":" in address else address
        else:
            others.append(name)
    return Endpoints(ready, tuple(others))


def stable_arm(deployment: Object, endpoints: int) -> Arm:
    """Stable has a digest only while all of its pods run one template: amid a rollout it has none."""
    complete = rolled_out(deployment)
    return Arm(
        digest=digest(deployment) if complete else "",
        label=label(deployment),
        running=replicas(deployment) > 0,
        ready=endpoints,
        lacks=_lacks(deployment, endpoints) if endpoints < replicas(deployment) else "",
        archive=archive(deployment),
    )


def canary_arm(deployment: Object, endpoints: int, *, weight: int) -> Arm:
    """The canary can answer when its pods run its template, and, before it has traffic, when all of them are ready.

    Endpoints of one that wants no pods are of pods that go.
    """
    wanted = replicas(deployment)
    rolling = not rolled_out(deployment) or (weight == 0 and (endpoints < wanted or not wanted))
    return Arm(
        digest=digest(deployment),
        label=label(deployment),
        running=wanted > 0,
        ready=None if endpoints and rolling else endpoints,
        failed=stuck(deployment) if wanted and endpoints < wanted else "",
        lacks=_lacks(deployment, endpoints),
        archive=archive(deployment),
    )


def _lacks(deployment: Object, endpoints: int) -> str:
    """How many pods can answer, and why Kubernetes makes no more; what a pod itself lacks is for `kubectl` to say."""
    pods, refused = f"{endpoints} of {replicas(deployment)} pods are", _told(deployment, "ReplicaFailure", "True")
    return f"{pods}; {refused}" if refused else pods


def scale_patch(deployment: Object, number: int) -> list[Object]:
    """A JSON patch to `number` pods."""
    return [*unchanged(deployment), {"op": "add", "path": "/spec/replicas", "value": number}]


def restart_patch(deployment: Object, when: str) -> list[Object]:
    """A JSON patch that replaces all pods, as `kubectl rollout restart` does."""
    annotations = {**deployment["spec"]["template"]["metadata"].get("annotations", {}), _RESTARTED: when}
    return [
        *unchanged(deployment),
        {"op": "add", "path": "/spec/template/metadata/annotations", "value": annotations},
    ]


def take_over_patch(deployment: Object, template: Object) -> list[Object]:
    """A JSON patch by which a Deployment takes another's pod template, but for the labels that it selects by."""
    new = deepcopy(template)
    new["metadata"]["labels"] = {**new["metadata"].get("labels", {}), **_selector(deployment)}
    new["metadata"].pop("creationTimestamp", None)
    return [*unchanged(deployment), {"op": "replace", "path": "/spec/template", "value": new}]


def unlike(stable: Object, canary: Object) -> str:
    """Why the canary can never be promoted, if so.

    What a Deployment selects by stays its own, so both must select by the same labels, with other values.
    """
    selectors = [_selector(each) for each in (stable, canary)]
    told = [", ".join(sorted(each)) or "no label" for each in selectors]
    names = [each["metadata"]["name"] for each in (stable, canary)]
    if told[0] != told[1]:
        return f"Deployment {names[0]} selects by {told[0]}, {names[1]} by {told[1]}; both need the same labels"
    if selectors[0] == selectors[1]:
        return f"the Deployments {names[0]} and {names[1]} select the same pods; one label needs another value"
    return ""


def _selector(deployment: Object) -> dict[str, str]:
    return dict(deployment["spec"]["selector"].get("matchLabels", {}))


def _portable(deployment: Object) -> Object:
    template: Object = deepcopy(deployment["spec"]["template"])
    metadata = template["metadata"]
    labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
    return {
        "labels": {key: value for key, value in labels.items() if key not in {*_selector(deployment), _HASH}},
        "annotations": {key: value for key, value in annotations.items() if key != _RESTARTED},
        "spec": template["spec"],
    }
