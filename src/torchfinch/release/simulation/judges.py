"""Ways of judging, each over many releases at once: at which look each of them takes a canary back."""

from collections.abc import Callable
from typing import Any

import numpy as np

from torchfinch.release.decision.policies import threshold
from torchfinch.release.decision.sequential import CALIBRATION, Event, raised, slower, together_in, usual_share
from torchfinch.release.manifest.spec import Analysis
from torchfinch.release.simulation.traffic import Traffic
from torchfinch.release.state import LATENCY_EDGES, QUANTILES, Bet

Judge = Callable[[Traffic], Any]
"""Per release and look, whether it takes the canary back there."""
_MINUTE = 12
"""Looks in a window of Flagger and Argo Rollouts."""
_POINTS = 50
"""Looks before Kayenta's test, and between two."""


def _rates(traffic: Traffic) -> tuple[Any, Any, Any]:
    """Canary requests, and both error rates, from the start to each look."""
    requests = traffic.canary.cumsum(axis=1)
    stable = traffic.stable_failed.cumsum(axis=1) / np.maximum(traffic.stable.cumsum(axis=1), 1)
    return requests, traffic.failed.cumsum(axis=1) / np.maximum(requests, 1), stable


def _required(traffic: Traffic) -> Any:
    requests, rate, stable = _rates(traffic)
    return (requests >= 100) & ((rate > 0.05) | (rate > 2 * stable))


def _sequential(traffic: Traffic) -> Any:
    """Its test of failures against stable, and of the limit of 5 %."""
    analysis = Analysis()
    limits = np.log([threshold(analysis, "failing more than stable"), threshold(analysis, "failing over the limit")])
    against, limit = _new(len(traffic.canary)), _new(len(traffic.canary))
    past = np.zeros((2, len(traffic.canary)))
    over = np.zeros(traffic.canary.shape, bool)
    for look in range(over.shape[1]):
        count, stable = traffic.canary[:, look], traffic.stable[:, look]
        failed, stable_failed = traffic.failed[:, look], traffic.stable_failed[:, look]
        both, requests = (count > 0) & (stable > 0), np.maximum(count, 1)
        together = np.maximum(together_in(count, stable, weight=traffic.scenario.weight), 1)
        share, usual = stable_failed / np.maximum(stable, 1), usual_share(*past)
        against = _where(both, raised(against, Event(failed, requests, share, usual, together)), against)
        limit = _where(count > 0, raised(limit, Event(failed, requests, 0.05, 0.05, requests)), limit)
        over[:, look] = (against.log_wealth >= limits[0]) | (limit.log_wealth >= limits[1])
        past += stable_failed, stable
    return over & (traffic.canary.cumsum(axis=1) >= 100)


def _sequential_latency(traffic: Traffic) -> Any:
    """Its test of latency."""
    limit = np.log(threshold(Analysis(), "slower than stable"))
    bets = [_new(len(traffic.canary)) for _ in QUANTILES]
    past = np.zeros((len(LATENCY_EDGES) + 1, len(traffic.canary)))
    over = np.zeros(traffic.canary.shape, bool)
    for look, (slow, usual) in enumerate(traffic.timed()):
        count, stable = traffic.canary[:, look], traffic.stable[:, look]
        ready = (past[-1] >= CALIBRATION) & (count > 0) & (stable > 0)
        together = np.maximum(together_in(count, stable, weight=traffic.scenario.weight), 1)
        slow[-1], usual[-1] = np.maximum(slow[-1], 1), np.maximum(usual[-1], 1)
        before = np.vstack([past[:-1], np.maximum(past[-1:], 1)])
        events = [slower(slow, usual, before, quantile=quantile, together=together) for quantile in QUANTILES]
        bets = [_where(ready, raised(bet, event), bet) for bet, event in zip(bets, events, strict=True)]
        mean = np.logaddexp.reduce([bet.log_wealth for bet in bets]) - np.log(len(bets))
        over[:, look] = mean >= limit
        past += usual
    return over & (traffic.canary.cumsum(axis=1) >= 100)


def _required_latency(traffic: Traffic) -> Any:
    """Its limits of 1.5 s and of twice stable's mean; an answer counts as the middle of its bucket."""
    canary, stable = np.zeros(len(traffic.canary)), np.zeros(len(traffic.canary))
    requests, _, _ = _rates(traffic)
    before = np.maximum(traffic.stable.cumsum(axis=1), 1)
    over = np.zeros(traffic.canary.shape, bool)
    for look, (slow, usual) in enumerate(traffic.timed()):
        canary, stable = canary + _seconds(slow), stable + _seconds(usual)
        mean, usual_mean = canary / np.maximum(requests[:, look], 1), stable / before[:, look]
        over[:, look] = (requests[:, look] >= 100) & ((mean > 1.5) | (mean > 2 * usual_mean))
    return over


def _seconds(buckets: Any) -> Any:
    edges = np.array(LATENCY_EDGES)
    middles = np.concatenate([edges[:1] / 2, (edges[1:] + edges[:-1]) / 2, edges[-1:]])
    return middles @ np.diff(buckets, axis=0, prepend=0)


def _flagger(traffic: Traffic) -> Any:
    """A success rate under 99 % in five windows of a minute; needs its window to be full."""
    return _windows(traffic, limit=0.01, failures=5)


def _argo(traffic: Traffic) -> Any:
    """A success rate under 95 % in four windows of a minute (`failureLimit: 3`)."""
    return _windows(traffic, limit=0.05, failures=4)


def _windows(traffic: Traffic, *, limit: float, failures: int) -> Any:
    over = np.zeros(traffic.canary.shape, bool)
    ends = np.arange(_MINUTE, over.shape[1] + 1, _MINUTE)
    sums = [
        np.add.reduceat(counts[:, : len(ends) * _MINUTE], ends - _MINUTE, axis=1)
        for counts in (traffic.failed, traffic.canary)
    ]
    over[:, ends - 1] = (sums[0] > limit * sums[1]).cumsum(axis=1) >= failures
    return over


def _kayenta(traffic: Traffic) -> Any:
    """Mann-Whitney's test over the looks' error rates with p < 0.01, every 50 looks."""
    from scipy.stats import mannwhitneyu  # noqa: PLC0415  slow to load

    canary, stable = (
        failed / np.maximum(count, 1)
        for failed, count in ((traffic.failed, traffic.canary), (traffic.stable_failed, traffic.stable))
    )
    over = np.zeros(traffic.canary.shape, bool)
    for end in range(_POINTS, over.shape[1] + 1, _POINTS):
        test = mannwhitneyu(canary[:, :end], stable[:, :end], alternative="greater", axis=1, method="asymptotic")
        over[:, end - 1] = test.pvalue < 0.01
    return over


def _new(releases: int) -> Bet:
    zeros: Any = np.zeros(releases)
    return Bet(log_wealth=zeros, gains=zeros, squares=zeros, events=zeros, looks=zeros)


def _where(chosen: Any, after: Bet, before: Bet) -> Bet:
    return Bet(**{name: np.where(chosen, value, getattr(before, name)) for name, value in vars(after).items()})


OF_ERRORS: dict[str, Judge] = {
    "required": _required,
    "sequential": _sequential,
    "Flagger-like": _flagger,
    "Argo-like": _argo,
    "Kayenta-like": _kayenta,
}
OF_LATENCY: dict[str, Judge] = {"required": _required_latency, "sequential": _sequential_latency}
"""The others judge no latency by themselves."""
