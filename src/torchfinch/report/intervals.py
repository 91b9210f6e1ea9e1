"""95 % intervals of what one version answered."""

import math
from collections.abc import Sequence

from torchfinch.release.state import LATENCY_EDGES

Interval = tuple[float, float]
_Z = 1.96


def share_interval(count: int, requests: int) -> Interval:
    """Wilson's interval of `count` of `requests` (1927): right also where nothing has failed yet."""
    share, spread = count / requests, _Z**2 / requests
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * share * (1 - share) + spread**2 / 4) / (1 + spread)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def mean_interval(mean: float, buckets: Sequence[int]) -> Interval | None:
    """The interval of a mean in milliseconds, by the spread of its `Counters.latency_buckets`; None without answers."""
    answers = buckets[-1]
    if not answers:
        return None
    counts = [high - low for low, high in zip((0, *buckets), buckets, strict=False)]
    edges = [1000 * edge for edge in (*LATENCY_EDGES, LATENCY_EDGES[-1])]
    variance = sum(count * (edge - mean) ** 2 for count, edge in zip(counts, edges, strict=True)) / answers
    half = _Z * math.sqrt(variance / answers)
    return max(mean - half, 0.0), mean + half
