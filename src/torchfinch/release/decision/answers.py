"""What a rule looks at and the few ways in which it can answer: move, go forward, go back, wait, start, end. Pure."""

from dataclasses import dataclass, replace

from torchfinch.release.decision.rules import accumulate, merged
from torchfinch.release.manifest.spec import Action, Spec
from torchfinch.release.state import (
    JUDGED,
    UNDERWAY,
    Act,
    Check,
    Decision,
    Evidence,
    Mark,
    Pair,
    Phase,
    Seen,
    SetWeight,
    State,
)

_LONGEST_LOOK = 60.0
"""Seconds between two looks that count at most; more means that nobody was looking."""


@dataclass(frozen=True)
class Look:
    """One look: what was asked for, remembered and seen."""

    spec: Spec
    state: State
    seen: Seen
    now: float
    elapsed: float
    """Seconds since the last look. Time counts only while somebody looks, so that neither a stopped controller nor a
    jumping clock runs into a deadline."""
    before: Evidence
    """The evidence of the policy `sequential` before this look."""
    notes: tuple[str, ...] = ()

    @property
    def wish(self) -> Action | None:
        """What a person asked for and has not got yet."""
        action = self.spec.action
        return action if action and action.id not in self.state.done else None

    @property
    def shown(self) -> int:
        """The canary's share of traffic, as far as anybody knows."""
        return self.state.weight if self.seen.weight is None else self.seen.weight

    @property
    def canary_answers(self) -> bool:
        """Whether what runs as the canary is this release's, and can take traffic."""
        return self.seen.canary.digest == self.state.canary and bool(self.seen.canary.ready)

    def granted(self, wish: Action) -> "Look":
        """The same look with `wish` carried out, never to be again."""
        return replace(self, state=replace(self.state, done=(*self.state.done, wish.id)))


def look(spec: Spec, state: State, seen: Seen, now: float) -> Look:
    """Bring the state up to date with what is seen, before anything is decided."""
    longest = max(_LONGEST_LOOK, 3 * spec.analysis.interval)
    elapsed = min(max(now - state.at, 0.0), longest) if state.at else 0.0
    state, notes = _take_over(replace(state, at=now), seen)
    # once the roles have changed, each arm counts what was the other's
    swapped, before = bool(state.canary) and seen.stable.digest == state.canary, state.evidence
    if seen.reading and state.phase in UNDERWAY and not swapped:
        state = replace(
            state, total=accumulate(state.total, state.last, seen.reading), last=merged(state.last, seen.reading)
        )
        state = _weighed(spec, state, seen)
    if state.phase is Phase.PAUSED and not spec.paused and state.hand is None:
        state = replace(state, phase=Phase.SHADOWING if state.mirror else Phase.PROGRESSING)
    return Look(spec, state, seen, now, elapsed, before, notes)


def _weighed(spec: Spec, state: State, seen: Seen) -> State:
    """Bet on what is new, where the policy wants it."""
    if spec.analysis.policy != "sequential":
        return state
    from torchfinch.release.decision.sequential import gather  # noqa: PLC0415  NumPy: 13 MB that the rule does not need

    counted, since = state.evidence.counted, state.at_step
    settled = counted.canary.requests >= since.canary.requests and counted.stable.requests >= since.stable.requests
    steady = state.verified and settled and seen.weight == state.weight
    # a Service over all pods splits by connections and whole pods, a process by users: only nearly as is asked
    exact = steady and spec.route.kind not in {"Replicas", "InProcess"}
    share = state.weight / 100 if exact and state.weight else None
    evidence = gather(state.evidence, state.total, analysis=spec.analysis, weight=state.weight, share=share)
    return replace(state, evidence=evidence)


def _take_over(state: State, seen: Seen) -> tuple[State, tuple[str, ...]]:
    """Believe the router's mark where it is ahead: it was set, and then the state was not written.

    A promotion is not believed but seen: stable runs the canary then.
    """
    mark = seen.mark
    if not mark or mark.revision <= state.revision or not state.stable or mark.phase is Phase.PROMOTED:
        return state, ()
    begun = mark.canary != state.canary or (mark.phase is Phase.PROGRESSING and mark.weight == 0)
    if begun or (state.weight == 0 and mark.phase in JUDGED):  # what was counted before is not this phase's evidence
        state = replace(state, total=Pair(), evidence=Evidence(), last=None)
    state = replace(state, started=state.at if begun else state.started)
    state = changed(
        state, phase=mark.phase, canary=mark.canary, weight=mark.weight, mirror=mark.mirror, reason=mark.reason
    )
    ended = None if mark.phase in UNDERWAY else state.at
    note = f"took over at weight {mark.weight}, which was set before the state was written: {mark.reason}"
    done = state.done if mark.action in {"", *state.done} else (*state.done, mark.action)
    return replace(state, revision=mark.revision, ended=ended, done=done), (note,)


def changed(
    state: State, *, phase: Phase, reason: str, weight: int | None = None, canary: str | None = None, mirror: int = 0
) -> State:
    """A state that has moved: the router must follow, and the step's clock and evidence start again."""
    return replace(
        state,
        phase=phase,
        reason=reason,
        weight=state.weight if weight is None else weight,
        canary=state.canary if canary is None else canary,
        mirror=mirror,
        revision=state.revision + 1,
        verified=False,
        hand=None,
        in_step=0.0,
        stuck=0.0,
    )


def move(state: State, *, checks: tuple[Check, ...] = (), notes: tuple[str, ...] = ()) -> Decision:
    """Bring the router to `state.weight`."""
    return Decision(state=state, actions=(_set(state),), checks=checks, notes=notes)


def _set(state: State) -> SetWeight:
    return SetWeight(mark=mark_of(state))


def mark_of(state: State) -> Mark:
    """What is left beside the weights of this state."""
    return Mark(
        revision=state.revision,
        phase=state.phase,
        canary=state.canary,
        weight=state.weight,
        reason=state.reason,
        action=state.done[-1] if state.done else "",
        mirror=state.mirror,
    )


def forward(at: Look, reason: str, checks: tuple[Check, ...] = ()) -> Decision:
    """The next step, or the promotion after the last one; copies of requests end a look before the first step.

    So no copy that is still on its way is counted as a user's request.
    """
    weight, state = at.spec.next_weight(at.state.weight), at.state
    if state.mirror:
        return move(changed(state, phase=Phase.SHADOWING, weight=0, reason=reason), checks=checks)
    if weight is None:
        return move(changed(state, phase=Phase.PROMOTING, weight=100, reason=reason), checks=checks)
    if state.weight == 0:  # only now can the canary get a user: what it answered before is not evidence of the steps
        state = _counting_anew(at)
    return move(changed(state, phase=Phase.PROGRESSING, weight=weight, reason=reason), checks=checks)


def mirror(at: Look, percent: int, reason: str, checks: tuple[Check, ...]) -> Decision:
    """Copies of requests to the canary, before it has any weight."""
    state = changed(_counting_anew(at), phase=Phase.SHADOWING, weight=0, mirror=percent, reason=reason)
    return move(state, checks=checks)


def _counting_anew(at: Look) -> State:
    """From here; a source that this reading lacks keeps its mark, so that it is not all new when it comes back."""
    return replace(at.state, total=Pair(), evidence=Evidence(), last=at.state.last if at.seen.reading else None)


def back(at: Look, reason: str, checks: tuple[Check, ...] = ()) -> Decision:
    """Weight 0 first, everything else after."""
    return move(changed(at.state, phase=Phase.ROLLING_BACK, weight=0, reason=reason), checks=checks)


def wait(at: Look, reason: str, *acts: Act, checks: tuple[Check, ...] = (), timed: bool = False) -> Decision:
    """Hold the weight because something is lacking, but only up to the progress deadline; `timed` tells the time."""
    stuck, deadline = at.state.stuck + at.elapsed, at.spec.progress_deadline
    if stuck > deadline:
        return back(at, f"no progress for {deadline:g} s: {reason}", checks)
    told = f"{reason}; waited {stuck:.0f} s, given up after {deadline:g} s" if timed else reason
    return Decision(state=replace(at.state, reason=told, stuck=stuck), actions=acts, checks=checks)


def rest(at: Look, reason: str, *acts: Act, checks: tuple[Check, ...] = ()) -> Decision:
    """Hold the weight for as long as it takes."""
    return Decision(state=replace(at.state, reason=reason), actions=acts, checks=checks)


def reassert(at: Look, reason: str) -> Decision:
    """Set the state's weight again in a router that shows another."""
    return wait(at, reason, _set(at.state))


def start(at: Look, canary: str, reason: str, *first: Act) -> Decision:
    """Begin a release of `canary` at weight 0, with no evidence yet.

    What must be done for it comes `first`: once the mark is set, a successor takes it for done.
    """
    state = changed(at.state, phase=Phase.PROGRESSING, weight=0, canary=canary, reason=reason)
    state = replace(state, total=Pair(), at_step=Pair(), evidence=Evidence(), last=None, started=at.now, ended=None)
    return Decision(state=state, actions=(*first, _set(state)))


def anew(at: Look, *, stable: str, reason: str) -> Decision:
    """Another version is stable: what was counted before says nothing of the canary beside it."""
    state = replace(
        _counting_anew(at),
        stable=stable,
        reason=reason,
        revision=at.state.revision + 1,
        verified=False,
        at_step=Pair(),
        in_step=0.0,
        stuck=0.0,
    )
    return Decision(state=state, notes=(reason,))


def undone(at: Look, *, stable: str, reason: str) -> Decision:
    """A person has put another version in the place of the one that was promoted, which `retry` releases again."""
    total = Pair(stable=at.state.total.canary, canary=at.state.total.stable)  # roles as before the promotion
    ended = end(replace(at, state=replace(at.state, total=total)), Phase.ROLLED_BACK, stable=stable, reason=reason)
    return replace(ended, notes=(reason,))


def end(at: Look, phase: Phase, *, stable: str, reason: str) -> Decision:
    """Nothing is under way any more; stable has all traffic. Where the roles have changed, the counts go with them."""
    state, total = changed(at.state, phase=phase, weight=0, reason=reason), at.state.total
    if stable == state.canary:
        total = Pair(stable=total.canary, canary=total.stable)
    return move(replace(state, stable=stable, total=total, ended=at.now, last=None))
