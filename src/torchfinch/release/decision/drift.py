"""How differently two versions predict on copies of the same requests. Pure."""

import math
from collections.abc import Sequence

from torchfinch.release.state import Check, Pair, Verdict


def drift(pair: Pair, limit: float | None, *, told: bool) -> tuple[Check, ...]:
    """Checks of predicted classes and of confidences.

    They are skipped where the handlers do not tell them (`told`), and hold while a server has told next to none of what
    it has answered, for metrics come later than answers.
    """
    stable, canary = pair.stable, pair.canary
    late = any(10 * sum(_bins(arm.confidences)) < arm.requests for arm in (stable, canary))
    return tuple(
        _check(name, *histograms, limit, waiting=told and late)
        for name, histograms in (
            ("class drift", (stable.classes, canary.classes)),
            ("confidence drift", (_bins(stable.confidences), _bins(canary.confidences))),
        )
    )


def stability_index(expected: Sequence[int], seen: Sequence[int]) -> float | None:
    """Population stability index of two histograms with the same bins; None where one of them is empty.

    PSI = sum((q - p) ln(q / p)) over the bins that either has, with half a count added to each. Of two samples of one
    distribution it is about (1/n + 1/m) times a chi-squared value of bins - 1 degrees of freedom; its mean and two
    standard deviations are taken off, so that few predictions seldom look like another distribution. The least is 0.
    """
    pairs = [each for each in zip(expected, seen, strict=True) if any(each)]
    n, m = sum(expected), sum(seen)
    if not n or not m:
        return None
    rest = 0.5 * len(pairs)
    shares = [((first + 0.5) / (n + rest), (second + 0.5) / (m + rest)) for first, second in pairs]
    index = sum((q - p) * math.log(q / p) for p, q in shares)
    freedom = len(pairs) - 1
    return max(index - (freedom + 2 * math.sqrt(2 * freedom)) * (1 / n + 1 / m), 0.0)


def _check(name: str, stable: Sequence[int], canary: Sequence[int], limit: float | None, *, waiting: bool) -> Check:
    width = max(len(stable), len(canary))
    filled = [(*counts, *[0] * (width - len(counts))) for counts in (stable, canary)]
    value = None if waiting else stability_index(*filled)
    verdict: Verdict = "hold" if waiting else "skip"
    if value is not None and limit is not None:
        verdict = "fail" if value > limit else "pass"
    return Check(
        name=name,
        value=value,
        limit=limit,
        verdict=verdict if limit is not None else "skip",
        note=f"{'only ' if waiting else ''}{sum(canary)} predictions; stable {sum(stable)}",
    )


def _bins(cumulative: Sequence[int]) -> tuple[int, ...]:
    """Counts of each bucket, out of counts up to each edge; the last two are equal, as no confidence is over 1."""
    return tuple(max(now - before, 0) for before, now in zip((0, *cumulative), cumulative, strict=False))
