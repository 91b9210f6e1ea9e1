"""A CanaryRelease as lines of the history, so that `release.view` shows one on a cluster as it does one here. Pure."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

from torchfinch.release.cluster.api import Object
from torchfinch.release.cluster.resource import parse_spec
from torchfinch.release.cluster.status import read_state

Record = dict[str, Any]

_UNTOLD = {"value": None, "limit": None}
"""Of what is merged into a resource the API server drops every null."""


def newest(found: Object) -> Record:
    """The controller's last look: what its status says.

    Raises `TorchfinchError` where the spec cannot be read.
    """
    spec, status = parse_spec(found), found.get("status", {})
    state = read_state(status)
    return {
        "time": state.at,
        "phase": state.phase,
        "step": spec.step_of(state.weight),
        "steps": len(spec.steps),
        "weight": state.weight,
        "reason": state.reason,
        "notes": [],
        "trouble": [],
        "checks": [{**_UNTOLD, **check} for check in status.get("checks", [])],
        "stable": {**_version(status, "stable"), **asdict(state.total.stable)},
        "canary": {**_version(status, "canary"), **asdict(state.total.canary)},
    }


def decisions(found: Object) -> Iterator[Record]:
    """The decisions that the status keeps, oldest first.

    Raises `TorchfinchError` where the spec cannot be read.
    """
    steps = len(parse_spec(found).steps)
    for kept in found.get("status", {}).get("decisions", []):
        yield {
            **kept,
            "time": datetime.fromisoformat(kept["time"]).timestamp(),
            "steps": steps,
            "reason": kept["notes"],  # the reason and all that was said beside it
            "notes": [],
            "trouble": [],
        }


def _version(status: Object, role: str) -> Record:
    arm = status.get(role, {})
    return {"digest": arm.get("digest", ""), "label": arm.get("version", "")}
