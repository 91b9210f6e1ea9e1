"""Play many releases at once: how often each way of judging takes an equal canary back, and how soon a worse one."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from torchfinch.release.simulation.judges import OF_ERRORS, OF_LATENCY
from torchfinch.release.simulation.traffic import Scenario, draw


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one policy did with the releases of one scenario."""

    scenario: Scenario
    policy: str
    back: float
    """Share of releases rolled back."""
    median: float | None
    """Canary requests until then, over all releases; None where fewer than half were rolled back."""


def simulate(scenario: Scenario, *, releases: int, seed: int) -> Iterator[Outcome]:
    """Let every policy judge the same releases; stable's rate is estimated from what was seen, as in life."""
    traffic = draw(scenario, releases=releases, seed=seed)
    judges = OF_ERRORS if scenario.latency is None else OF_LATENCY
    answered = traffic.canary.cumsum(axis=1)
    for name, judge in judges.items():
        over = judge(traffic)
        back = over.any(axis=1)
        until = np.where(back, np.take_along_axis(answered, over.argmax(axis=1)[:, None], 1)[:, 0], np.inf)
        median = float(np.median(until))
        yield Outcome(
            scenario=scenario, policy=name, back=float(back.mean()), median=None if np.isinf(median) else median
        )


SCENARIOS = (
    *(
        Scenario(stable=stable, canary=canary, weight=weight, errors=errors)
        for errors in ("single", "batches", "seconds")
        for weight in (10, 50)
        for stable, canary in ((0.001, 0.001), (0.01, 0.01), (0.03, 0.03), (0.01, 0.02), (0.01, 0.05))
    ),
    *(Scenario(latency=latency, weight=weight) for weight in (10, 50) for latency in (1.0, 1.2, 2.0, 3.0)),
)
"""What `torchfinch canary simulate` plays."""
