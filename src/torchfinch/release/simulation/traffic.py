"""Made-up traffic of many releases at once: requests, failures and latencies of both versions, look by look."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from torchfinch.release.state import LATENCY_EDGES

Errors = Literal["single", "batches", "seconds"]
"""Singly; four that always fail together; or in bad seconds of one version's server, where 30 % fail."""
_SECONDS = 5
"""In one look."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Two versions and their traffic."""

    stable: float = 0.01
    """Errors per request."""
    canary: float = 0.01
    weight: int = 10
    errors: Errors = "single"
    latency: float | None = None
    """The canary's, as a multiple of stable's, log-normal with sigma 0.5; where given, latencies alone are judged."""
    look: int = 50
    """Requests of both versions between two looks."""
    requests: int = 2000
    """The canary's, until the end."""


@dataclass(frozen=True)
class Traffic:
    """Counts per release (rows) and look (columns)."""

    scenario: Scenario
    seed: int
    canary: Any
    stable: Any
    failed: Any
    stable_failed: Any

    def timed(self) -> Iterator[tuple[Any, Any]]:
        """The latencies of canary and stable, look by look, the same each time.

        Each is the requests that took no longer than each of `LATENCY_EDGES`, and last all (rows), per release.
        """
        random = np.random.default_rng([self.seed, 1])
        for canary, stable in zip(self.canary.T, self.stable.T, strict=True):
            yield _buckets(random, canary, self.scenario.latency or 1.0), _buckets(random, stable, 1.0)


def draw(scenario: Scenario, *, releases: int, seed: int) -> Traffic:
    """Traffic of so many releases."""
    random = np.random.default_rng(seed)
    looks = -(-scenario.requests * 100 // (scenario.look * scenario.weight))
    canary = random.binomial(scenario.look, scenario.weight / 100, size=(releases, looks))
    stable = scenario.look - canary
    failed, stable_failed = (
        _failed(random, count, rate, scenario.errors)
        for count, rate in ((canary, scenario.canary), (stable, scenario.stable))
    )
    return Traffic(scenario, seed, canary, stable, failed, stable_failed)


def _failed(random: np.random.Generator, requests: Any, rate: float, errors: Errors) -> Any:
    if errors == "single":
        return random.binomial(requests, rate)
    if errors == "batches":
        return np.minimum(4 * random.poisson(requests * rate / 4), requests)
    bad = random.binomial(_SECONDS, min(rate / 0.3, 1.0), size=requests.shape)
    return random.binomial(np.rint(requests * bad / _SECONDS).astype(int), 0.3)


def _buckets(random: np.random.Generator, requests: Any, factor: float) -> Any:
    from scipy.stats import lognorm  # noqa: PLC0415  slow to load

    below = lognorm.cdf([*LATENCY_EDGES, np.inf], 0.5, scale=0.02 * factor)
    return random.multinomial(requests, np.diff(below, prepend=0.0)).T.cumsum(axis=0)
