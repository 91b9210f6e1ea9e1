"""The status of the custom resource: what people read and wait for, and what the controller remembers. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from torchfinch.release.adapters import View
from torchfinch.release.cluster.api import Object
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.state import UNDERWAY, Arm, Counters, Pair, Phase, State

DECISIONS = 30
"""So many decisions are kept in the status; older ones are in the controller's log."""
_STATE = TypeAdapter(State)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One answer to `kubectl wait`."""

    type: str
    holds: bool
    reason: str
    message: str


def read_state(status: Mapping[str, Any]) -> State:
    """The state that the controller left in a status; a new one where there is none that can be read."""
    try:
        return _STATE.validate_json(status.get("state", "{}"))
    except ValidationError:
        return State()


def build_status(
    state: State, *, spec: Spec, view: View | None, measured: str | None, generation: int, before: Mapping[str, Any]
) -> Object:
    """The whole status; `measured` says what is wrong with the measurements, empty for nothing, None for not needed."""
    status: Object = {
        "phase": str(state.phase),
        "step": f"{spec.step_of(state.weight)}/{len(spec.steps)}",
        "weight": state.weight,
        "reason": _reason(state, view),
        "compared": _compared(_as_judged(state)),
        "observedGeneration": generation,
        "conditions": _stamped(
            _conditions(state, view, measured, late=state.stuck > spec.progress_deadline),
            before.get("conditions", []),
            generation=generation,
            at=state.at,
        ),
        "decisions": list(before.get("decisions", [])),
        "state": _STATE.dump_json(state).decode(),
    }
    if view:
        status |= {"stable": _arm(view.stable, state.stable), "canary": _arm(view.canary, state.canary)}
    if view and view.baseline:
        status["baseline"] = _arm(view.baseline, state.stable)
    if state.started:
        status["startedAt"] = moment(state.started)
    if state.ended:
        status["endedAt"] = moment(state.ended)
    return status


def refused(why: str, *, generation: int, before: Mapping[str, Any], at: float) -> Object:
    """What a status says of a spec that cannot be read: nobody drives the release."""
    idle = Condition(type="Progressing", holds=False, reason="InvalidSpec", message=why)
    conditions = _stamped([idle], before.get("conditions", []), generation=generation, at=at)
    return {"reason": why, "observedGeneration": generation, "conditions": conditions}


def _reason(state: State, view: View | None) -> str:
    """A release that has not begun, and cannot for its route, says why."""
    kept_out = view and view.weight is None and view.trouble and state.phase is Phase.IDLE
    return view.trouble[0] if view and kept_out else state.reason


def settled(status: Mapping[str, Any]) -> Object:
    """A status without what changes at every look: at rest nothing else is worth a write."""
    state = replace(read_state(status), at=0.0, last=None)
    return {**status, "state": state}


def moment(seconds: float) -> str:
    """Seconds since 1970 as Kubernetes writes times."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _conditions(state: State, view: View | None, measured: str | None, *, late: bool) -> Iterable[Condition]:
    """The answers; `late` says whether nothing has moved forward for longer than `spec.progressDeadline`."""
    phase, reason = state.phase, state.reason
    # Only a rolled back release is forgotten when nothing is offered, and whoever waits for its end must still see it.
    rolled_back = phase is Phase.ROLLED_BACK or (phase is Phase.IDLE and state.ended is not None)
    promoted = phase is Phase.PROMOTED and not (view and view.offered not in {None, "", state.canary, state.stable})
    yield Condition(type="Promoted", holds=promoted, reason=str(phase), message=reason)
    yield Condition(type="RolledBack", holds=rolled_back, reason=str(phase), message=reason)
    yield Condition(type="Paused", holds=phase is Phase.PAUSED, reason=str(phase), message=reason)
    moving = phase in UNDERWAY or phase is Phase.ROLLING_BACK
    progressing = moving and phase is not Phase.PAUSED and not late
    why = "ProgressDeadlineExceeded" if moving and late else str(phase)
    yield Condition(type="Progressing", holds=progressing, reason=why, message=reason)
    if measured is not None:
        why = "Measured" if not measured else "NoMeasurements"
        yield Condition(
            type="MetricsAvailable", holds=not measured, reason=why, message=measured or "counters are read"
        )
    trouble = "; ".join(view.trouble) if view else "the route cannot be read"
    synced = bool(view and view.synced and view.weight == state.weight)
    yield Condition(
        type="RouteSynced",
        holds=synced,
        reason="Synced" if synced else "NotSynced",
        message=trouble or (f"the route sends {state.weight} % to the canary" if synced else "the route is changing"),
    )


def _stamped(
    found: Iterable[Condition], before: Iterable[Mapping[str, Any]], *, generation: int, at: float
) -> list[Object]:
    """Conditions as the API has them; the time of a transition stays where the answer is the same."""
    old = {condition["type"]: condition for condition in before}
    stamped = []
    for each in found:
        status = str(each.holds)
        known = old.get(each.type, {})
        since = known.get("lastTransitionTime") if known.get("status") == status else None
        stamped.append(
            {
                "type": each.type,
                "status": status,
                "observedGeneration": generation,
                "lastTransitionTime": since or moment(at),
                "reason": each.reason,
                "message": each.message[:1000],
            }
        )
    kept = {condition["type"] for condition in stamped}
    return stamped + [dict(condition) for name, condition in old.items() if name not in kept]


def _arm(arm: Arm, digest: str) -> Object:
    return {"digest": arm.digest or digest, "version": arm.label, **({} if arm.ready is None else {"ready": arm.ready})}


def _as_judged(state: State) -> Pair:
    """What was counted, by the roles in which the versions were compared: with a promotion they change."""
    total = state.total
    return Pair(stable=total.canary, canary=total.stable) if state.phase is Phase.PROMOTED else total


def _compared(total: Pair) -> Object:
    def both(show: Any) -> str:
        return f"{show(total.canary)}/{show(total.stable)}"

    def latency(counters: Counters) -> str:
        mean = counters.mean_latency
        return "-" if mean is None else f"{1000 * mean:.0f}ms"

    return {
        "requests": both(lambda arm: arm.requests),
        "errors": both(lambda arm: f"{arm.error_rate:.2%}"),
        "latency": both(latency),
    }
