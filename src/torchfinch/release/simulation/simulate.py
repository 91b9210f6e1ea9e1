"""Play many releases at once: how often each way of judging takes an equal canary back, and how soon a worse one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from torchfinch.release.decision.policies import threshold
from torchfinch.release.decision.sequential import CALIBRATION, Event, raised, slower, together_in, usual_share
from torchfinch.release.manifest.spec import Analysis
from torchfinch.release.state import LATENCY_EDGES, QUANTILES, Bet

Errors = Literal["single", "batches", "seconds"]
"""Singly; four that always fail together; or in bad seconds of one version's server, where 30 % fail."""
_SECONDS = 5
"""In one look."""
_MINUTE = 12
"""Looks in a window of Flagger and Argo Rollouts."""
_POINTS = 50
"""Looks before Kayenta's test, and between two."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Two versions and their traffic."""

    stable: float = 0.01
    """Errors per request."""
    canary: float = 0.01
    weight: int = 10
    errors: Errors = "single"
    latency: float = 1.0
    """The canary's, as a multiple of stable's; log-normal, sigma 0.5."""
    look: int = 50
    """Requests of both versions between two looks."""
    requests: int = 2000
    """The canary's, until the end."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one policy did with the releases of one scenario."""

    scenario: Scenario
    policy: str
    back: float
    """Share of releases rolled back."""
    median: float | None
    """Canary requests until then, over all releases; None where fewer than half were rolled back."""


@dataclass(frozen=True)
class _Traffic:
    """Counts per release and look."""

    scenario: Scenario
    canary: Any
    stable: Any
    failed: Any
    stable_failed: Any


def simulate(scenario: Scenario, *, releases: int, seed: int) -> Iterator[Outcome]:
    """Let every policy judge the same releases; stable's rate is estimated from what was seen, as in life."""
    random = np.random.default_rng(seed)
    traffic = _traffic(scenario, releases, random)
    policies = _POLICIES if scenario.latency == 1.0 else {"sequential": _latency(random)}
    answered = traffic.canary.cumsum(axis=1)
    for name, policy in policies.items():
        over = policy(traffic)
        back = over.any(axis=1)
        until = np.where(back, np.take_along_axis(answered, over.argmax(axis=1)[:, None], 1)[:, 0], np.inf)
        median = float(np.median(until))
        yield Outcome(
            scenario=scenario, policy=name, back=float(back.mean()), median=None if np.isinf(median) else median
        )


def _traffic(scenario: Scenario, releases: int, random: np.random.Generator) -> _Traffic:
    looks = -(-scenario.requests * 100 // (scenario.look * scenario.weight))
    canary = random.binomial(scenario.look, scenario.weight / 100, size=(releases, looks))
    stable = scenario.look - canary
    failed, stable_failed = (
        _failed(random, count, rate, scenario.errors)
        for count, rate in ((canary, scenario.canary), (stable, scenario.stable))
    )
    return _Traffic(scenario, canary, stable, failed, stable_failed)


def _failed(random: np.random.Generator, requests: Any, rate: float, errors: Errors) -> Any:
    if errors == "single":
        return random.binomial(requests, rate)
    if errors == "batches":
        return np.minimum(4 * random.poisson(requests * rate / 4), requests)
    bad = random.binomial(_SECONDS, min(rate / 0.3, 1.0), size=requests.shape)
    return random.binomial(np.rint(requests * bad / _SECONDS).astype(int), 0.3)


def _rates(traffic: _Traffic) -> tuple[Any, Any, Any]:
    """Canary requests, and both error rates, from the start to each look."""
    requests = traffic.canary.cumsum(axis=1)
    stable = traffic.stable_failed.cumsum(axis=1) / np.maximum(traffic.stable.cumsum(axis=1), 1)
    return requests, traffic.failed.cumsum(axis=1) / np.maximum(requests, 1), stable


def _required(traffic: _Traffic) -> Any:
    requests, rate, stable = _rates(traffic)
    return (requests >= 100) & ((rate > 0.05) | (rate > 2 * stable))


def _sequential(traffic: _Traffic) -> Any:
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
        limit = _where(both, raised(limit, Event(failed, requests, 0.05, 0.05, requests)), limit)
        over[:, look] = (against.log_wealth >= limits[0]) | (limit.log_wealth >= limits[1])
        past += stable_failed, stable
    return over & (traffic.canary.cumsum(axis=1) >= 100)


def _latency(random: np.random.Generator) -> Callable[[_Traffic], Any]:
    """The test of latency, over histograms that are drawn look by look."""

    def judge(traffic: _Traffic) -> Any:
        limit = np.log(threshold(Analysis(), "slower than stable"))
        bets = [_new(len(traffic.canary)) for _ in QUANTILES]
        past = np.zeros((len(LATENCY_EDGES) + 1, len(traffic.canary)))
        over = np.zeros(traffic.canary.shape, bool)
        for look in range(over.shape[1]):
            count, stable = traffic.canary[:, look], traffic.stable[:, look]
            slow, usual = _buckets(random, count, traffic.scenario.latency), _buckets(random, stable, 1.0)
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

    return judge


def _buckets(random: np.random.Generator, requests: Any, factor: float) -> Any:
    from scipy.stats import lognorm  # noqa: PLC0415  slow to load

    below = lognorm.cdf([*LATENCY_EDGES, np.inf], 0.5, scale=0.02 * factor)
    return random.multinomial(requests, np.diff(below, prepend=0.0)).T.cumsum(axis=0)


def _flagger(traffic: _Traffic) -> Any:
    """A success rate under 99 % in five windows of a minute; needs its window to be full."""
    return _windows(traffic, limit=0.01, failures=5)


def _argo(traffic: _Traffic) -> Any:
    """A success rate under 95 % in four windows of a minute (`failureLimit: 3`)."""
    return _windows(traffic, limit=0.05, failures=4)


def _windows(traffic: _Traffic, *, limit: float, failures: int) -> Any:
    over = np.zeros(traffic.canary.shape, bool)
    ends = np.arange(_MINUTE, over.shape[1] + 1, _MINUTE)
    sums = [
        np.add.reduceat(counts[:, : len(ends) * _MINUTE], ends - _MINUTE, axis=1)
        for counts in (traffic.failed, traffic.canary)
    ]
    over[:, ends - 1] = (sums[0] > limit * sums[1]).cumsum(axis=1) >= failures
    return over


def _kayenta(traffic: _Traffic) -> Any:
    """Mann-Whitney's test over the looks' error rates at a confidence of 0.98, every 50 looks."""
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


_POLICIES: dict[str, Callable[[_Traffic], Any]] = {
    "required": _required,
    "sequential": _sequential,
    "Flagger-like": _flagger,
    "Argo-like": _argo,
    "Kayenta-like": _kayenta,
}

SCENARIOS = (
    *(
        Scenario(stable=stable, canary=canary, weight=weight, errors=errors)
        for errors in ("single", "batches", "seconds")
        for weight in (10, 50)
        for stable, canary in ((0.001, 0.001), (0.01, 0.01), (0.03, 0.03), (0.01, 0.02), (0.01, 0.05))
    ),
    Scenario(latency=1.2),
    Scenario(latency=2.0),
)
"""What `torchfinch canary simulate` plays."""
