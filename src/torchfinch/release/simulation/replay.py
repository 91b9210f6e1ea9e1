"""Decide a recorded release again: by the same rule, or by another on what was seen then."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from torchfinch.errors import TorchfinchError
from torchfinch.release.decision.decide import decide
from torchfinch.release.manifest.spec import Analysis, Spec, first_fault
from torchfinch.release.state import UNDERWAY, Decision, Evidence, Pair, Phase, Seen, State

Record = dict[str, Any]
Verdict = Literal["back", "forward", "hold"]

_SEEN = TypeAdapter(Seen)
_STATE = TypeAdapter(State)


@dataclass(frozen=True)
class Replayed:
    """A recorded turn and what is decided today from what was seen then."""

    record: Record
    spec: Spec
    before: State
    seen: Seen
    decision: Decision

    @property
    def same(self) -> bool:
        """Whether phase, weight, reason and actions are those recorded."""
        state, then = self.decision.state, self.record
        actions = [type(act).__name__ for act in self.decision.actions]
        now = (str(state.phase), state.weight, state.reason, actions)
        return now == (then["phase"], then["weight"], then["reason"], [act["type"] for act in then["actions"]])


@dataclass(frozen=True)
class Look:
    """One look at a release under way: what was decided then, and what another rule says of the same numbers."""

    record: Record
    weight: int
    """At which it was made."""
    then: Verdict
    now: Verdict
    decision: Decision
    """By the other rule."""


@dataclass(frozen=True)
class Rejudged:
    """A recorded release under another rule, up to where either takes it back, or the record ends."""

    stable: str
    canary: str
    outcome: str
    """The phase in which the record leaves it."""
    looks: tuple[Look, ...]

    @property
    def differing(self) -> tuple[Look, ...]:
        """The looks at which the two say different things."""
        return tuple(look for look in self.looks if look.then != look.now)

    @property
    def back(self) -> Look | None:
        """The look at which the other rule takes the release back."""
        return next((look for look in self.looks if look.now == "back"), None)


def replay(records: Iterable[Record]) -> Iterator[Replayed]:
    """Re-run the decision over history lines, in their order; lines before the first full one are passed over.

    Raises `TorchfinchError` for a line that another version of torchfinch wrote in another form.
    """
    spec: Spec | None = None
    state: State | None = None
    for number, line in enumerate(records, 1):
        try:
            given = line["input"]
            spec = Spec.model_validate(given["spec"]) if "spec" in given else spec
            state = _STATE.validate_python(given["state"]) if "state" in given else state
            seen = _SEEN.validate_python(given["seen"])
        except (KeyError, TypeError, ValidationError) as error:
            hint = "a history of another version of torchfinch cannot be decided again"
            raise TorchfinchError(f"line {number} of the history lacks what a decision needs", hint) from error
        if spec is None or state is None:
            continue
        decision = decide(spec, state, seen, line["time"])
        yield Replayed(line, spec, state, seen, decision)
        state = decision.state


def changed(analysis: Analysis, changes: Mapping[str, Any]) -> Analysis:
    """The rule with other values for some fields, named as in the manifest.

    Raises `TorchfinchError` for a field that there is not, or a value that it cannot have.
    """
    try:
        return Analysis.model_validate({**analysis.model_dump(mode="json", by_alias=True), **changes})
    except ValidationError as error:
        fields = ", ".join(field.alias or name for name, field in Analysis.model_fields.items())
        fault = error.errors(include_url=False)[0]
        name = fault["loc"][0] if fault["loc"] else "analysis"
        if fault["type"] == "extra_forbidden":
            raise TorchfinchError(f"analysis has no field {name}", f"it has {fields}") from error
        raise TorchfinchError(f"analysis.{first_fault(error)}", f"it has {fields}") from error


def rejudge(records: Iterable[Record], changes: Mapping[str, Any]) -> list[Rejudged]:
    """What another rule says of every recorded release, look by look.

    Each look is judged at the weight at which it was made: what users met later, had the weight been another, nobody
    has seen. Only the evidence is the other rule's own, so that it counts from the start of the release.
    """
    looks: list[tuple[object, Replayed, Decision]] = []
    evidence = Evidence()
    for turn in replay(records):
        spec = turn.spec.model_copy(update={"analysis": changed(turn.spec.analysis, changes)})
        other = decide(spec, replace(turn.before, evidence=evidence), turn.seen, turn.record["time"])
        begun = turn.decision.state.total == Pair()
        evidence = Evidence() if begun else other.state.evidence
        if turn.before.phase in UNDERWAY and turn.before.canary == turn.decision.state.canary:
            looks.append((turn.before.started, turn, other))
    return [_rejudged([each[1:] for each in group]) for _, group in groupby(looks, key=lambda look: look[0])]


def _rejudged(turns: list[tuple[Replayed, Decision]]) -> Rejudged:
    looks = []
    for turn, other in turns:
        then = _verdict(turn.before, Phase(turn.record["phase"]), turn.record["weight"])
        now = _verdict(turn.before, other.state.phase, other.state.weight)
        looks.append(Look(turn.record, turn.before.weight, then, now, other))
        if "back" in {looks[-1].then, looks[-1].now}:
            break
    labels = [turn.record for turn, _ in turns if turn.seen.canary.digest == turn.before.canary] or [turns[0][0].record]
    last = turns[-1][0].record
    return Rejudged(labels[0]["stable"]["label"], labels[0]["canary"]["label"], last["phase"], tuple(looks))


def _verdict(before: State, phase: Phase, weight: int) -> Verdict:
    if phase in {Phase.ROLLING_BACK, Phase.ROLLED_BACK}:
        return "back"
    promoting = phase is Phase.PROMOTING and before.phase is not phase
    return "forward" if promoting or weight > before.weight else "hold"
