"""How a release is judged: by the rule as it is required, or by evidence that stays valid at any number of looks."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from torchfinch.release.decision.rules import judge, since_step, timed
from torchfinch.release.manifest.spec import Analysis
from torchfinch.release.state import QUANTILES, Bet, Check, Counters, Evidence, Pair, State, Verdict

_CLAIMS = {
    "failing more than stable": (("failures",), 0.70),
    "slower than stable": (tuple(f"slow {quantile:g}" for quantile in QUANTILES), 0.20),
    "failing over the limit": (("limit",), 0.05),
    "refusing more than stable": (("refusals",), 0.04),
    "traffic not as weighted": (("more", "less"), 0.01),
}
"""The bets of each claim against the canary, whose wealth is averaged, and its part of `analysis.alpha`."""
_SPLIT = "traffic not as weighted"
_ABSOLUTE = "failing over the limit"
"""The one that needs no stable version, which has no traffic any more at weight 100."""
DOUBT = 2.0
"""Evidence with which a release is not brought forward: too few looks must not carry a worse canary through."""


def judgement(analysis: Analysis, state: State) -> tuple[Check, ...]:
    """The checks of all that was measured since the release began."""
    literal = judge(analysis, state.total, weight=state.weight)
    if analysis.policy == "required":
        return literal
    return (*_plain(literal), *_evidence(analysis, state))


def step_judgement(analysis: Analysis, state: State) -> tuple[Check, ...]:
    """The checks before the next step: of the step's own part, and of evidence that is not enough and not nothing."""
    literal = judge(analysis, since_step(state.total, state.at_step), weight=state.weight)
    if analysis.policy == "required":
        return literal
    found = [check for check in _evidence(analysis, state) if (check.value or 0.0) >= DOUBT]
    return (*_plain(literal), *(replace(check, limit=DOUBT, verdict="hold") for check in found))


def _plain(literal: Iterable[Check]) -> Iterator[Check]:
    """What is not bet on: a sum of latencies has no variance that could be tested, and most refused is gross."""
    return (check for check in literal if check.name in {"mean latency", "client errors"})


def wealth(evidence: Evidence, claim: str) -> float:
    """The mean wealth of a claim's bets: at most one of N releases with equal versions ever sees N."""
    names, _ = _CLAIMS[claim]
    return sum(math.exp(min(evidence.bets.get(name, Bet()).log_wealth, 700.0)) for name in names) / len(names)


def renewed(claim: str, before: Evidence, after: Evidence) -> bool:
    """Whether the look between the two brought answers to a claim."""
    if claim == _ABSOLUTE:
        return before.limited != after.limited
    return before.counted != after.counted


def threshold(analysis: Analysis, claim: str) -> float:
    """The wealth that is enough."""
    return 1 / (analysis.alpha * _CLAIMS[claim][1])


def _evidence(analysis: Analysis, state: State) -> tuple[Check, ...]:
    off = {
        "failing more than stable": analysis.max_error_ratio is None,
        "slower than stable": analysis.max_latency_ratio is None,
        "failing over the limit": analysis.max_error_rate is None,
        "refusing more than stable": analysis.max_client_error_excess is None,
    }
    claims = [_ABSOLUTE] if state.weight == 100 else _CLAIMS
    return tuple(_check(analysis, state, claim) for claim in claims if not off.get(claim))


def _check(analysis: Analysis, state: State, claim: str) -> Check:
    """A claim's evidence; a split that is not the wanted one holds, since it says nothing of the canary."""
    value, limit = wealth(state.evidence, claim), threshold(analysis, claim)
    over: Verdict = "hold" if claim == _SPLIT else "fail"
    seen = any(name in state.evidence.bets for name in _CLAIMS[claim][0])
    verdict: Verdict = "skip" if not seen else over if value >= limit else "pass"
    note = f"{_counts(claim, state.total)}; {odds(value)}"
    return Check(name=claim, value=value, limit=limit, verdict=verdict, note=note, unit="odds")


def odds(value: float) -> str:
    """A wealth in a person's words."""
    if value < DOUBT:
        return "no evidence"
    return f"1 in {value:,.0f} if both were equal" if value < 1e9 else "less than 1 in a billion if both were equal"


def _counts(claim: str, total: Pair) -> str:
    def told(counters: Counters) -> str:
        if claim == _SPLIT:
            return f"{counters.requests} requests"
        if claim == "slower than stable":
            return timed(counters)
        count = counters.client_errors if claim == "refusing more than stable" else counters.errors
        return f"{count} of {counters.requests}"

    return f"{told(total.canary)}; stable {told(total.stable)}"
