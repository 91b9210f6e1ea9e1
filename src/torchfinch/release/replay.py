"""Decide a recorded release again: the same inputs give the same decisions, or the decision has changed since."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from torchfinch.release.decide import decide
from torchfinch.release.spec import Spec
from torchfinch.release.state import Decision, Seen, State

_SEEN = TypeAdapter(Seen)
_STATE = TypeAdapter(State)


@dataclass(frozen=True)
class Replayed:
    """A recorded turn and what is decided today from what was seen then."""

    record: dict[str, Any]
    decision: Decision

    @property
    def same(self) -> bool:
        """Whether phase, weight, reason and actions are those recorded."""
        state, then = self.decision.state, self.record
        actions = [type(act).__name__ for act in self.decision.actions]
        now = (str(state.phase), state.weight, state.reason, actions)
        return now == (then["phase"], then["weight"], then["reason"], [act["type"] for act in then["actions"]])


def replay(records: Iterable[dict[str, Any]]) -> Iterator[Replayed]:
    """Re-run the decision over history lines, in their order; lines before the first full one are passed over."""
    spec: Spec | None = None
    state: State | None = None
    for line in records:
        given = line["input"]
        spec = Spec.model_validate(given["spec"]) if "spec" in given else spec
        state = _STATE.validate_python(given["state"]) if "state" in given else state
        if spec is None or state is None:
            continue
        decision = decide(spec, state, _SEEN.validate_python(given["seen"]), line["time"])
        yield Replayed(line, decision)
        state = decision.state
