"""The decision: what happens next to a release, from its spec, its state and what is seen. Pure, and the only judge.

The rules stand in order: the first that has something to say decides. docs/releases.md has the reasons. A release on
a laptop and one on a cluster run through the same lines.
"""

from collections.abc import Callable
from dataclasses import replace

from torchfinch.release.decision.answers import (
    Look,
    anew,
    back,
    changed,
    end,
    forward,
    look,
    mark_of,
    move,
    rest,
    start,
    undone,
)
from torchfinch.release.decision.baseline import baseline_share, can_serve
from torchfinch.release.decision.judging import judged
from torchfinch.release.decision.readiness import baseline_ready, before_the_first, canary_ready, evidence, routed
from torchfinch.release.manifest.backends import HERE
from torchfinch.release.manifest.spec import Action, Spec
from torchfinch.release.state import (
    UNDERWAY,
    Act,
    Balance,
    Decision,
    Deploy,
    Phase,
    Promote,
    Remark,
    Retire,
    Seen,
    SetWeight,
    State,
)

_FIRST = 10
"""So many requests that all failed are a plain failure."""


def decide(spec: Spec, state: State, seen: Seen, now: float) -> Decision:
    """What to do at `now` (seconds since 1970); the same arguments give the same decision."""
    at = look(spec, state, seen, now)
    decision = next(filter(None, (rule(at) for rule in RULES)), None) or judged(at)
    return _balanced(at, _marked(at, replace(decision, notes=(*at.notes, *decision.notes))))


def _marked(at: Look, decision: Decision) -> Decision:
    """Whatever is decided, a release has its mark in a route: when it is deleted, its split is found by that."""
    seen, state = at.seen, decision.state
    here = at.spec.route.kind in HERE  # where the mark is lost with the weights, and nothing outlives the release
    if here or seen.mark or seen.weight is None or state.phase not in UNDERWAY:
        return decision
    if any(isinstance(act, SetWeight) for act in decision.actions):  # which leaves the mark too
        return decision
    if state.hand is None and seen.weight != state.weight:  # with such a mark it would pass for lowered by hand
        return decision
    put_back = Remark(mark=mark_of(state))
    notes = (*decision.notes, "the mark of this release had gone from the route: put back")
    return replace(decision, actions=(*decision.actions, put_back), notes=notes)


def _balanced(at: Look, decision: Decision) -> Decision:
    """Whatever is decided, the baseline has its share of the traffic, but none where it cannot answer."""
    baseline, seen = at.seen.baseline, at.seen
    if not baseline or seen.weight is None:
        return decision
    serves = can_serve(baseline, stable=seen.stable)
    wanted = baseline_share(weight=seen.weight, mirror=seen.mirror) if serves else 0
    weighed = any(isinstance(act, SetWeight) for act in decision.actions)  # which gives it its share too
    if seen.baseline_weight == wanted or weighed:
        return decision
    notes = () if serves else ("the baseline cannot answer as stable does: its traffic goes to stable",)
    return replace(decision, actions=(*decision.actions, Balance()), notes=(*decision.notes, *notes))


def _promoted(at: Look) -> Decision | None:
    """Stable runs what was the canary: the promotion happened, whoever remembers it.

    The traffic goes back when all of stable can answer; before that only where the canary cannot.
    """
    arm = at.seen.stable
    if at.state.phase not in UNDERWAY or not _took_over(at) or (at.canary_answers and (arm.lacks or not arm.ready)):
        return None
    return end(at, Phase.PROMOTED, stable=arm.digest, reason=f"{arm.label or 'the canary'} is stable now")


def _took_over(at: Look) -> bool:
    """Whether stable's servers are the canary's version by now."""
    return bool(at.state.canary) and at.seen.stable.digest == at.state.canary


def _stable_known(at: Look) -> Decision | None:
    """Remember what serves as stable; at the first start that is what runs there."""
    state, arm = at.state, at.seen.stable
    if not arm.digest and not state.stable:
        return rest(at, "waiting for a first stable version")
    moving = state.phase in UNDERWAY or state.phase is Phase.ROLLING_BACK
    if arm.digest in {"", state.stable} or (moving and _took_over(at)):
        return None
    what = f"{arm.label or arm.digest[:12]} is stable"
    if state.phase in UNDERWAY:
        return anew(at, stable=arm.digest, reason=f"{what} now: counting begins anew at weight {state.weight}")
    if state.phase is Phase.PROMOTED:
        return undone(at, stable=arm.digest, reason=f"{what}, by hand; retry releases what was promoted again")
    return Decision(state=replace(state, stable=arm.digest, reason=state.reason if moving else what), notes=(what,))


def _stable_missing(at: Look) -> Decision | None:
    """Moving traffic to a stable version that cannot answer is an outage: hold, say so, and bring it back.

    Forward is the one way out: a person may promote a canary that answers.
    """
    state, stable = at.state, at.seen.stable
    if stable.ready != 0:
        return None
    if at.canary_answers and state.phase is Phase.PROMOTING:
        return _promoting(at)
    if at.canary_answers and state.phase in UNDERWAY and at.wish and at.wish.type == "promote":
        return _person(at)
    acts = () if stable.running else (Deploy(role="stable", digest=state.stable),)
    reason = f"stable has no ready endpoint: holding the canary at weight {at.shown}"
    if state.phase in UNDERWAY:
        return rest(at, reason, *acts)
    return Decision(state=state, actions=acts, notes=(reason,))  # why the last release ended stays to be read


def _rolling_back(at: Look) -> Decision | None:
    """Until the router shows 0, and nothing else before that."""
    if at.state.phase is not Phase.ROLLING_BACK:
        return None
    if at.wish:
        return replace(move(at.granted(at.wish).state), notes=(f"{at.wish.type} does not apply: rolling back",))
    if at.seen.weight != 0 or at.seen.mirror:
        return move(at.state)
    if at.seen.stable.digest != at.state.stable:  # aborted amid a promotion, with stable on its way to the canary
        return rest(at, at.state.reason, Deploy(role="stable", digest=at.state.stable))
    return end(at, Phase.ROLLED_BACK, stable=at.state.stable, reason=at.state.reason)


def _offer(at: Look) -> Decision | None:
    """A changed canary starts a release; one that is stable already, or none, ends the release under way."""
    state, offered = at.state, at.seen.offered
    if offered is None or offered == state.canary:
        return None
    if offered and offered != state.stable:
        return start(at, offered, "a new canary is offered; it is started before it gets traffic")
    if state.phase in UNDERWAY:
        return back(at, "the canary is no longer offered")
    if state.phase is Phase.ROLLED_BACK:  # forget it, so that offering it again starts again
        return Decision(
            state=replace(
                state, phase=Phase.IDLE, canary="", reason=f"no canary is offered; the last one: {state.reason}"
            )
        )
    return None


def _at_rest(at: Look) -> Decision | None:
    """No release under way: weight 0, and only `retry` or a new canary begins again."""
    state, wish = at.state, at.wish
    if state.phase in UNDERWAY:
        return None
    if at.shown > 0:
        return move(state, notes=(f"the router showed weight {at.shown} with no release under way: put back to 0",))
    if at.seen.mirror:
        return move(state, notes=("the router mirrored requests with no release under way: put back",))
    if wish:
        return _wished_at_rest(at, wish)
    return Decision(state=state, actions=_retirement(at))


def _wished_at_rest(at: Look, wish: Action) -> Decision:
    state = at.state
    if wish.type != "retry" or state.phase is not Phase.ROLLED_BACK:
        note = f"{wish.type} does not apply: no release is under way"
        return Decision(state=at.granted(wish).state, notes=(note,))
    if at.seen.weight is None:
        return Decision(state=state, notes=("the router does not tell its weights: retry waits",))
    fresh = Deploy(role="canary", digest=state.canary, fresh=True)
    return start(at.granted(wish), state.canary, "a person asked to retry", fresh)


def _retirement(at: Look) -> tuple[Act, ...]:
    """The canary of an ended release goes after a while: it has no traffic, and costs as much as stable."""
    delay, ended = at.spec.scale_down_delay, at.state.ended
    over = delay is not None and ended is not None and at.now - ended >= delay
    return (Retire(),) if over and at.seen.beside_stable and at.seen.weight == 0 else ()


def _plain_failure(at: Look) -> Decision | None:
    """Comes before every minimum, and even while paused."""
    arm, answered = at.seen.canary, at.state.total.canary
    served = at.shown > 0 and at.state.weight > 0
    if (served or at.state.mirror) and arm.ready == 0:
        return back(at, f"the canary has no ready endpoint at weight {at.shown}")
    if answered.requests >= _FIRST and answered.errors >= answered.requests:
        return back(at, f"all of the canary's first {answered.requests} requests failed")
    if arm.failed and arm.digest == at.state.canary:
        return back(at, f"the canary could not be started: {arm.failed}")
    return None


def _person(at: Look) -> Decision | None:
    """Abort, promote, skip and resume; a pause does not stop them."""
    wish = at.wish
    if not wish:
        return None
    at = at.granted(wish)
    state, ready = at.state, at.canary_answers
    if wish.type == "abort":
        return back(at, "a person asked to abort")
    if wish.type == "promote" and ready:
        return move(changed(state, phase=Phase.PROMOTING, weight=100, reason="a person asked to promote"))
    if wish.type == "skip" and ready and state.phase is not Phase.PROMOTING:
        return forward(at, "a person asked to skip")
    if wish.type == "resume":
        resumed = changed(state, phase=Phase.PROGRESSING, reason="a person asked to resume")
        return Decision(state=state) if state.hand is None else move(resumed)
    why = "the release is under way" if wish.type == "retry" else "the canary has no ready endpoint"
    return Decision(state=state, notes=(f"{wish.type} does not apply: {why}",))


def _hand_edit(at: Look) -> Decision | None:
    """Only a weight that differs from the router's own mark is a person's: lowered is a pause, raised is put back."""
    state, shown, mark = at.state, at.seen.weight, at.seen.mark
    if shown is None:
        return None
    decided = mark.weight if mark else state.weight
    if shown > decided:
        return move(state, notes=(f"the weight was raised by hand to {shown}: put back to {state.weight}",))
    telling = at.spec.route.kind not in {*HERE, "Replicas"}  # a router here starts anew; pods have a share only nearly
    if mark is None and not (telling and state.verified):
        return None
    if shown < decided:
        reason = f"the weight was lowered by hand from {decided} to {shown}: paused until resume"
        news = () if state.hand == shown else (reason,)
        return Decision(state=replace(state, phase=Phase.PAUSED, hand=shown, reason=reason), notes=news)
    if state.hand is not None:
        return move(changed(state, phase=Phase.PROGRESSING, reason=f"the weight is {shown} again by hand: going on"))
    return None


def _promoting(at: Look) -> Decision | None:
    """All traffic on the canary first, then the roles change. However long that takes, users have the canary."""
    if at.state.phase is not Phase.PROMOTING:
        return None
    if at.seen.weight != at.state.weight:
        return move(at.state)
    stuck, deadline, lacks = at.state.stuck + at.elapsed, at.spec.progress_deadline, at.seen.stable.lacks
    what = f"{at.seen.canary.label or 'the canary'} has all traffic and"
    late = f"{what} keeps it: stable is not ready with it after {deadline:g} s{f': {lacks}' if lacks else ''}"
    over = stuck > deadline
    state = replace(at.state, reason=late if over else f"{what} becomes stable", stuck=stuck, verified=True)
    return Decision(state=state, actions=(Promote(digest=state.canary),), notes=(late,) if over else ())


def _paused(at: Look) -> Decision | None:
    """Nothing moves, in neither direction; a router that lost the weight gets it back."""
    if at.state.hand is not None:
        return Decision(state=at.state)
    if not at.spec.paused:
        return None
    paused = replace(at.state, phase=Phase.PAUSED, reason=f"paused at weight {at.state.weight}")
    lost = at.seen.weight not in {at.state.weight, None} and at.canary_answers
    return move(paused) if lost else Decision(state=paused)


RULES: tuple[Callable[[Look], Decision | None], ...] = (
    _promoted,
    _stable_known,
    _stable_missing,
    _rolling_back,
    _offer,
    _at_rest,
    _plain_failure,
    _person,
    _hand_edit,
    _promoting,
    _paused,
    canary_ready,
    baseline_ready,
    routed,
    evidence,
    before_the_first,
)
