"""The judgement of what was measured: back, on hold, or forward to the next step. Pure."""

from collections.abc import Iterable
from dataclasses import replace

from torchfinch.release.decision.answers import Look, back, forward, mirror, rest, wait
from torchfinch.release.decision.conditions import conditions
from torchfinch.release.decision.diff import alike, diff_checks
from torchfinch.release.decision.drift import drift
from torchfinch.release.decision.policies import judgement, renewed, step_judgement
from torchfinch.release.decision.rules import shown, since_step, undecided
from torchfinch.release.manifest.options import Shadow
from torchfinch.release.manifest.spec import Step
from torchfinch.release.state import Check, Decision, Phase


def judged(at: Look) -> Decision:
    """The rule of the release: back where all its evidence breaks a limit, not before it has enough requests."""
    at = replace(at, state=replace(at.state, in_step=at.state.in_step + at.elapsed))
    requests = at.state.total.canary.requests
    least = at.spec.analysis.min_requests
    minimum = min(least, _minimum(at)) if at.state.mirror else least
    enough = _at_least("requests", requests, minimum)
    checks = (enough, *judgement(at.spec.analysis, at.state), *_beside_the_rule(at))
    if enough.verdict == "hold":
        kind = "copied" if at.state.mirror else "canary"
        return wait(at, f"{requests} of {minimum} {kind} requests", checks=undecided(checks))
    return _against(at, checks) or _step(at, checks)


def first_requests(at: Look) -> Decision:
    """The canary's first requests are the inputs of a diff, then copies of users' requests, and only then users'."""
    shadow, diff, compared, reading = at.spec.shadow, at.spec.diff, at.seen.compared, at.seen.reading
    if at.state.phase is Phase.SHADOWING:
        return forward(at, "no copies are sent any more")
    counted = reading.at if reading else None
    checks = diff_checks(diff, compared, revision=at.state.revision, counted=counted) if diff else ()
    against = _against(at, checks)
    if against:
        return against
    reason = alike(compared) if diff and compared else "the canary is ready"
    if shadow:
        return mirror(at, shadow.percent, f"{reason}; copies of requests are sent to it first", checks)
    return forward(at, reason, checks)


def _against(at: Look, checks: tuple[Check, ...]) -> Decision | None:
    """Back where a check fails, and on hold where one cannot tell."""
    broken, unclear = _with("fail", checks), _with("hold", checks)
    if broken:
        return back(at, _all_told(broken), checks)
    return wait(at, _all_told(unclear), checks=checks) if unclear else None


def _beside_the_rule(at: Look) -> Iterable[Check]:
    """What the versions predict on copies of the same requests, and what others were asked."""
    state, shadow = at.state, at.spec.shadow
    if state.mirror and shadow:
        sources = (state.last.stable, state.last.canary) if state.last else ()
        told = all(any(counters.confidences for counters in source.values()) for source in sources)
        yield from drift(state.total, shadow.max_drift, told=told)
    since = at.now - at.spec.analysis.freshness
    yield from conditions(at.spec.checks, at.seen.findings, revision=state.revision, since=since)


def _step(at: Look, checks: tuple[Check, ...]) -> Decision:
    """Forward when the step has its requests, they too keep the limits, and its time is over."""
    state, seconds = at.state, _part(at).duration or 0.0
    own = since_step(state.total, state.at_step)
    requests = _at_least("step requests", own.canary.requests, _minimum(at))
    duration = _at_least("step duration", state.in_step, seconds)
    checks = (*checks, requests, duration)
    where = "copied requests" if state.mirror else f"canary requests at weight {state.weight}"
    if requests.verdict == "hold":
        return wait(at, f"{requests.value} of {requests.limit} {where}", checks=checks)
    step_checks = step_judgement(at.spec.analysis, state)
    broken, doubts = _with("fail", step_checks), _with("hold", step_checks)
    if doubts:
        return _doubted(at, doubts, checks)
    if broken:
        named = tuple(replace(check, name=f"step {check.name}") for check in broken)
        return wait(at, f"not forward: {_all_told(named)}", checks=(*checks, *undecided(named)))
    if not at.seen.stable.ready:
        return wait(at, "cannot tell whether stable could take the traffic back", checks=checks)
    if duration.verdict == "hold":
        return rest(at, f"{state.in_step:.0f} of {seconds:g} s at weight {state.weight}", checks=checks)
    return forward(at, f"{requests.value} {where} keep the limits", checks)


def _doubted(at: Look, doubts: tuple[Check, ...], checks: tuple[Check, ...]) -> Decision:
    """On hold for as long as answers come by which a doubt may go; without them it is a lack of progress."""
    told = f"not forward yet: {_all_told(doubts)}"
    if not any(renewed(doubt.name, at.before, at.state.evidence) for doubt in doubts):
        return wait(at, told, checks=checks)
    return rest(replace(at, state=replace(at.state, stuck=0.0)), told, checks=checks)


def _part(at: Look) -> Step | Shadow:
    """What the manifest says of the part of the release that is under way."""
    if at.state.mirror and at.spec.shadow:
        return at.spec.shadow
    return at.spec.step_at(at.state.weight)


def _minimum(at: Look) -> int:
    return _part(at).min_requests or at.spec.analysis.min_requests


def _at_least(name: str, value: float, limit: float) -> Check:
    return Check(name=name, value=value, limit=limit, verdict="pass" if value >= limit else "hold", note="at least")


def _with(verdict: str, checks: Iterable[Check]) -> tuple[Check, ...]:
    return tuple(check for check in checks if check.verdict == verdict)


def _all_told(checks: Iterable[Check]) -> str:
    return "; ".join(map(_told, checks))


def _told(check: Check) -> str:
    """What speaks against going on: value, limit, where the limit comes from, and sample sizes."""
    value, limit = shown(check.value, check.unit), shown(check.limit, check.unit)
    if check.value is None:
        return f"{check.name}: {check.note}"
    if check.condition:
        told = "fails" if check.verdict == "fail" else "decides nothing"
        return f"{check.name}: {value} {told}; it {check.condition}"
    if check.unit == "odds":
        return f"{check.name}: {check.note}, the limit is {limit}"
    basis = f", {check.basis}" if check.basis else ""
    return f"{check.name}: {value} is over the limit of {limit}{basis} ({check.note})"
