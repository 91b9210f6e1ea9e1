"""Evidence against a canary that stays valid however often one looks, and whatever happens inside a look. Pure.

Each claim of the kind "the canary is no worse" is met by a bet that nobody can expect to win while it is true: the
wealth is an e-process, so it ever reaches N in at most one of N releases (Ville's inequality). Two look at a time,

    W = prod_t (1 + s_t (f_t(c_t) - f_t(b_t))),   f_t(r) = min(r, u_t) / u_t,   0 <= s_t < 1,

where c_t and b_t are the shares of requests with the event (a failure, a slow answer) on canary and stable in look t,
and s_t and u_t are known before it. Nothing is assumed about the requests of one look, so errors may fail together or
by the second; in return one look at most doubles the wealth. The stakes s_t are those of Waudby-Smith and Ramdas,
"Estimating means of bounded random variables by betting" (2024), section B.3: mean gain by mean square.

The arithmetic is NumPy's, so that `simulate` plays many releases at once with arrays in place of the numbers here.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from torchfinch.release.decision.rules import subtract
from torchfinch.release.manifest.spec import Analysis
from torchfinch.release.state import LATENCY_EDGES, QUANTILES, Bet, Counters, Evidence, Pair

_PRIOR = 10.0
"""So many past looks, each won in full, are imagined before the first."""
_MOST = 0.99
_USUAL = 4.0
"""A look's share counts in full up to so many times the usual one."""
CALIBRATION = 20
"""Timed answers of stable before its quantiles are used."""


@dataclass(frozen=True)
class Event:
    """What one look shows of one kind of event: numbers, or arrays with a number for each of many releases."""

    count: Any
    requests: Any
    """The canary's; more than 0."""
    against: Any
    """Stable's share in the same look, or the limit."""
    usual: Any
    """Stable's share before this look, or the limit."""
    together: Any
    """Requests among which events may come together; 1 lets every share count as it is."""


def raised(bet: Bet, event: Event) -> Bet:
    """The bet after one more look.

    A share counts up to four times the usual one, or up to as many events as usually come together if that is more.
    """
    cluster = (1 + bet.events) / (1 + bet.looks)
    unit = np.clip(np.maximum(cluster / event.together, _USUAL * event.usual), 0.0, 1.0)
    gain = (np.minimum(event.count / event.requests, unit) - np.minimum(event.against, unit)) / unit
    stake = np.clip((_PRIOR + bet.gains) / (_PRIOR + bet.squares), 0.0, _MOST)
    return Bet(
        log_wealth=bet.log_wealth + np.log1p(stake * gain),
        gains=bet.gains + gain,
        squares=bet.squares + gain**2,
        events=bet.events + event.count,
        looks=bet.looks + (event.count > 0),
    )


def gather(evidence: Evidence, total: Pair, *, analysis: Analysis, weight: int, share: float | None) -> Evidence:
    """The evidence after a look at `total`.

    The limit is tested by what the canary has answered since the last one. What is compared with stable waits, and is
    one look, until both versions have answered. `share` is the part of the requests that the canary should have got, or
    None where it changed since the last look.
    """
    before, tested = evidence.counted, evidence.limited or evidence.counted.canary
    alone = subtract(total.canary, tested)
    new = Pair(stable=subtract(total.stable, before.stable), canary=subtract(total.canary, before.canary))
    both = bool(new.canary.requests and (weight == 100 or new.stable.requests))
    events = [*_limit(alone, analysis)]
    if both and weight < 100:
        events += _against_stable(new, before.stable, analysis=analysis, weight=weight, share=share)
    bets = dict(evidence.bets)
    for name, event in events:
        after = raised(bets.get(name, Bet()), event)
        bets[name] = Bet(**{key: float(value) for key, value in asdict(after).items()})
    limited = total.canary if alone.requests else evidence.limited
    return Evidence(counted=total if both else before, limited=limited, bets=bets)


def _limit(new: Counters, analysis: Analysis) -> Iterator[tuple[str, Event]]:
    """The claim that needs no stable version."""
    limit = analysis.max_error_rate
    if limit is not None and new.requests:
        yield "limit", Event(new.errors, new.requests, limit, limit, together=new.requests)


def _against_stable(
    new: Pair, past: Counters, *, analysis: Analysis, weight: int, share: float | None
) -> Iterator[tuple[str, Event]]:
    """What the look says of each other claim, by the name of its bet."""
    stable, canary = new.stable, new.canary
    together = together_in(canary.requests, stable.requests, weight=weight)
    usual = usual_share(past.errors, past.requests)
    yield "failures", Event(canary.errors, canary.requests, stable.error_rate, usual, together)
    excess = analysis.max_client_error_excess or 0.0
    refused, usual = stable.client_error_rate, usual_share(past.client_errors, past.requests)
    yield "refusals", Event(canary.client_errors, canary.requests, refused + excess, usual + excess, together)
    yield from _slow(new, past.latency_buckets, weight=weight)
    if share is not None:
        requests = canary.requests + stable.requests
        for name, count, part in (("more", canary.requests, share), ("less", stable.requests, 1 - share)):
            yield name, Event(count, requests, part, part, together=requests)


def _slow(new: Pair, past: tuple[int, ...], *, weight: int) -> Iterator[tuple[str, Event]]:
    stable, canary = new.stable.latency_buckets, new.canary.latency_buckets
    if past and past[-1] >= CALIBRATION and stable and canary and stable[-1] and canary[-1]:
        together = together_in(canary[-1], stable[-1], weight=weight)
        for quantile in QUANTILES:
            yield f"slow {quantile:g}", slower(canary, stable, past, quantile=quantile, together=together)


def slower(canary: Any, stable: Any, past: Any, *, quantile: float, together: Any) -> Event:
    """Answers over the edge at stable's past `quantile`, against canary's over the next edge, 1.2 times as high.

    Buckets are those of `Counters.latency_buckets`, along the first axis.
    """
    canary, stable, past = (np.asarray(counts) for counts in (canary, stable, past))
    edge = np.minimum((past[:-1] < quantile * past[-1]).sum(axis=0), len(LATENCY_EDGES) - 2)

    def share(counts: Any) -> Any:
        return 1 - np.take_along_axis(counts, edge[None], 0)[0] / counts[-1]

    slow = canary[-1] - np.take_along_axis(canary, edge[None] + 1, 0)[0]
    return Event(slow, canary[-1], share(stable), share(past), together)


def together_in(canary: Any, stable: Any, *, weight: int) -> Any:
    """`Event.together` of a look.

    Cutting off large shares favours no version only where the canary has no more requests than stable: above a weight
    of 50 they count as they are.
    """
    return 1 if weight > 50 else np.minimum(canary, (canary + stable) / 2)


def usual_share(events: Any, requests: Any) -> Any:
    """A share estimated from the past, never 0."""
    return (events + 0.5) / (requests + 50)
