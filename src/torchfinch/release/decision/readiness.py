"""What must be there before anything is judged: servers, the weight in the router, measurements. Pure."""

from dataclasses import replace

from torchfinch.release.decision.answers import Look, reassert, wait
from torchfinch.release.decision.judging import first_requests
from torchfinch.release.state import Decision, Deploy


def canary_ready(at: Look) -> Decision | None:
    """No weight without a canary that can answer."""
    arm, wanted = at.seen.canary, at.state.canary
    if at.seen.weight is None:
        return wait(at, "; ".join(("the router does not tell its weights", *at.seen.trouble)))
    if at.canary_answers:
        return None
    if at.seen.weight == 0 and (arm.digest != wanted or not arm.running):
        return wait(at, "starting the canary", Deploy(role="canary", digest=wanted))
    return wait(at, f"the canary is not ready{f': {arm.lacks}' if arm.lacks else ''}", timed=True)


def baseline_ready(at: Look) -> Decision | None:
    """No weight either without the copy of stable that the canary's latency is compared with."""
    arm, wanted = at.seen.baseline, at.state.stable
    if not arm or at.state.weight == 100 or (arm.ready and arm.digest == wanted):  # at 100 nothing is compared
        return None
    if arm.digest != wanted or not arm.running:
        return wait(at, "starting the baseline", Deploy(role="baseline", digest=wanted))
    return wait(at, f"the baseline is not ready{f': {arm.lacks}' if arm.lacks else ''}", timed=True)


def routed(at: Look) -> Decision | None:
    """The router shows the step's weight before the step counts."""
    state, shown = at.state, at.seen.weight
    if shown != state.weight:
        return reassert(at, f"setting weight {state.weight}, for the router shows {shown}")
    if at.seen.mirror != state.mirror:
        return reassert(at, f"mirroring {state.mirror} % of the requests, for the router mirrors {at.seen.mirror} %")
    if not at.seen.synced:
        pods = at.spec.route.kind == "Replicas"
        moving = "pods are ended as others become ready in their place"
        return wait(at, moving if pods else f"the route with weight {shown} is not taken up yet")
    if not state.verified and not _before_requests(at):
        copied = f"copies of {state.mirror} % of the requests go to the canary"
        reason = copied if state.mirror else f"weight {shown} is in the router"
        return Decision(state=replace(state, verified=True, at_step=state.total, reason=reason))
    return None


def evidence(at: Look) -> Decision | None:
    """Old measurements or none are no pass, nor are the canary's alone while stable has traffic too."""
    reading, limit = at.seen.reading, at.spec.analysis.freshness
    if reading is None:
        return wait(at, "no measurements")
    if not reading.stable and at.state.weight < 100:
        return wait(at, "no measurements of stable")
    if at.now - reading.at > limit:
        return wait(at, f"measurements are {at.now - reading.at:.0f} s old, more than {limit:g} s")
    return None


def before_the_first(at: Look) -> Decision | None:
    """Only a canary that can be measured gets any."""
    return first_requests(at) if _before_requests(at) else None


def _before_requests(at: Look) -> bool:
    """Whether the canary gets neither a weight nor copies yet."""
    return at.state.weight == 0 and not (at.state.mirror and at.spec.shadow)
