"""A copy of stable that is loaded like the canary, so that latencies differ only where the versions do. Pure.

Stable at 95 % of the traffic batches and queues otherwise than a canary at 5 %. The baseline runs stable's version on
as many servers as the canary has, and gets as much of the traffic.
"""

from collections.abc import Mapping
from dataclasses import replace

from torchfinch.release.state import Arm, Counters


def baseline_share(*, weight: int, mirror: int) -> int:
    """Percent of the traffic for the baseline: as much as the canary has, as long as the rest is enough for it."""
    return min(max(weight, mirror), 100 - weight, 50)


def can_serve(baseline: Arm, *, stable: Arm) -> bool:
    """Whether users may be sent to it: it answers, and with the version that stable has now."""
    return bool(baseline.ready) and baseline.digest == stable.digest


def with_baseline(stable: Mapping[str, Counters], baseline: Mapping[str, Counters]) -> dict[str, Counters]:
    """Counts of stable's version: all requests of both, but the times of the baseline alone."""
    untimed = {
        source: replace(counters, latency_sum=0.0, latency_count=0, latency_buckets=())
        for source, counters in stable.items()
    }
    return {**untimed, **baseline}
