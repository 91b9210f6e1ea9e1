"""A CanaryRelease as lines of the history, so that `release.view` shows one on a cluster as it does one here. Pure."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

from torchfinch.release.cluster.api import Object
from torchfinch.release.cluster.status import read_state

Record = dict[str, Any]

_UNTOLD = {"value": None, "limit": None}
"""Of what is merged into a resource the API server drops every null."""


def newest(found: Object) -> Record:
    """The controller's last look: what its status says."""
    status = found.get("status", {})
    state, (step, steps) = read_state(status), _steps(status)
    return {
        "time": state.at,
        "phase": state.phase,
        "step": step,
        "steps": steps,
        "weight": state.weight,
        "reason": state.reason,
        "notes": [],
        "trouble": [],
        "checks": [{**_UNTOLD, **check} for check in status.get("checks", [])],
        "stable": {**_version(status, "stable"), **asdict(state.total.stable)},
        "canary": {**_version(status, "canary"), **asdict(state.total.canary)},
    }


def decisions(found: Object) -> Iterator[Record]:
    """The decisions that the status keeps, oldest first."""
    status = found.get("status", {})
    _, steps = _steps(status)
    for kept in status.get("decisions", []):
        yield {
            **kept,
            "time": datetime.fromisoformat(kept["time"]).timestamp(),
            "steps": steps,
            "reason": kept["notes"],  # the reason and all that was said beside it
            "notes": [],
            "trouble": [],
        }


def _steps(status: Object) -> tuple[int, int]:
    """The step reached and how many there are, as the controller last said: its spec may be of another version."""
    reached, _, steps = status.get("step", "0/0").partition("/")
    return int(reached), int(steps)


def _version(status: Object, role: str) -> Record:
    arm = status.get(role, {})
    return {"digest": arm.get("digest", ""), "label": arm.get("version", "")}
