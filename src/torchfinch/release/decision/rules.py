"""The rule's arithmetic: growing counters that may restart, and comparing two versions. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import reduce
from itertools import zip_longest

from torchfinch.release.manifest.spec import Analysis
from torchfinch.release.state import Check, Counters, Pair, Reading, Unit, Verdict

BLOCK = 10
_ABSENT = 20
"""So many sources that a reading lacks are remembered; more where there are more."""
MOST_REFUSED = 0.5
"""A canary with nothing to compare with may answer so many of its requests with 4xx."""


def accumulate(total: Pair, last: Reading | None, reading: Reading) -> Pair:
    """`total` and what came since `last`; the first reading of what was there already marks where counting starts."""
    if last is None:
        return total
    return Pair(
        stable=grow(total.stable, _news(last.stable, reading.stable, last.untold)),
        canary=grow(total.canary, _news(last.canary, reading.canary, last.untold)),
    )


def merged(last: Reading | None, reading: Reading) -> Reading:
    """`reading`, with the sources of `last` that it lacks: one that comes back is not counted twice.

    Of those it has the ones that were there last, for most have gone for good, and a state must not grow without end.
    `untold` stays what was there when counting started and was not read since.
    """
    if last is None:
        return reading
    stable, canary = _kept(last.stable, reading.stable), _kept(last.canary, reading.canary)
    untold = tuple(name for name in last.untold if name not in {*stable, *canary})
    return replace(reading, stable=stable, canary=canary, untold=untold)


def _kept(last: Mapping[str, Counters], now: Mapping[str, Counters]) -> dict[str, Counters]:
    absent = [name for name in last if name not in now]
    return {**{name: last[name] for name in absent[-max(_ABSENT, len(now)) :]}, **now}


def _news(last: Mapping[str, Counters], now: Mapping[str, Counters], untold: Collection[str]) -> Counters:
    """What all sources together counted since `last`; one not seen before started after it, or is among `untold`."""
    known = {name: counters for name, counters in now.items() if name in last or name not in untold}
    return reduce(_both, (_since(last.get(name), counters) for name, counters in known.items()), Counters())


def _since(before: Counters | None, now: Counters) -> Counters:
    """What was counted between two readings; a counter that fell has started again, so all of `now` is new."""
    if before is None or now.requests < before.requests or now.errors < before.errors:
        return grow(Counters(), now)
    return subtract(now, before)


def subtract(now: Counters, before: Counters) -> Counters:
    """Counts of `now` without those of `before`."""
    return Counters(
        requests=now.requests - before.requests,
        errors=now.errors - before.errors,
        client_errors=now.client_errors - before.client_errors,
        latency_sum=max(now.latency_sum - before.latency_sum, 0.0),
        latency_count=max(now.latency_count - before.latency_count, 0),
        latency_buckets=_less(now.latency_buckets, before.latency_buckets),
        error_blocks=now.error_blocks - before.error_blocks,
        classes=_less(now.classes, before.classes),
        confidences=_less(now.confidences, before.confidences),
    )


def grow(total: Counters, new: Counters) -> Counters:
    """`total` with `new` added.

    There are never more errors than requests: a source may count answers to others, such as probes. Those of earlier
    requests may come without new ones.

    Blocks of ten are cut from the requests in order of arrival. Inside one reading the order is unknown, so its errors
    are spread over as many of its blocks as they can reach: exact where a reading brings no more than fills one block,
    and never too few.
    """
    both, filled = _both(total, new), total.requests % BLOCK
    errors = min(both.errors, both.requests)
    touched = -(-(filled + new.requests) // BLOCK)
    fresh = touched - (1 if total.block_failed and filled else 0)
    hit = max(min(errors - total.errors, fresh), 0)
    open_now = (filled + new.requests) % BLOCK
    stays = touched <= 1 and total.block_failed and filled > 0
    return replace(
        both,
        errors=errors,
        client_errors=min(both.client_errors, both.requests),
        error_blocks=total.error_blocks + hit,
        block_failed=open_now > 0 and (stays or (hit > 0 and hit == fresh)),
    )


def _both(total: Counters, new: Counters) -> Counters:
    return Counters(
        requests=total.requests + new.requests,
        errors=total.errors + new.errors,
        client_errors=total.client_errors + new.client_errors,
        latency_sum=total.latency_sum + new.latency_sum,
        latency_count=total.latency_count + new.latency_count,
        latency_buckets=_more(total.latency_buckets, new.latency_buckets),
        classes=_more(total.classes, new.classes),
        confidences=_more(total.confidences, new.confidences),
    )


def _less(now: tuple[int, ...], before: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(new - old, 0) for new, old in zip_longest(now, before, fillvalue=0))


def _more(total: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(sum, zip_longest(total, new, fillvalue=0)))


def since_step(total: Pair, at_step: Pair) -> Pair:
    """The step's own part of the release's counts."""
    return Pair(stable=subtract(total.stable, at_step.stable), canary=subtract(total.canary, at_step.canary))


def judge(analysis: Analysis, pair: Pair, *, weight: int) -> tuple[Check, ...]:
    """Compare the canary with the limits and with stable.

    The comparisons with stable are skipped where it has no requests, and at weight 100, where it has no traffic; a
    canary that refuses more than half of what it is asked does not pass there either. They are taken literally
    elsewhere: with no error on stable, the canary's first error is more than twice as many.
    """
    stable, canary = pair.stable, pair.canary
    paired = weight < 100 and stable.requests > 0
    counts = f"{canary.errors} of {canary.requests}; stable {stable.errors} of {stable.requests}"
    refused = f"{canary.client_errors} of {canary.requests}; stable {stable.client_errors} of {stable.requests}"
    mean, stable_mean = canary.mean_latency, stable.mean_latency
    means = f"{timed(canary)}; stable {timed(stable)}"
    stable_rate = max(stable.error_rate, analysis.stable_error_floor)
    whose = "stable's" if stable_rate == stable.error_rate else "the floor of"
    known = f"{whose} {shown(stable_rate, 'share')}"
    ratio, slower, excess = analysis.max_error_ratio, analysis.max_latency_ratio, analysis.max_client_error_excess
    return (
        _check("error rate", canary.error_rate, analysis.max_error_rate, unit="share", note=counts),
        _check("error rate against stable", canary.error_rate, _times(ratio, stable_rate), unit="share",
               evaluable=paired, note=counts, basis=f"{shown(ratio, 'number')} times {known}"),
        _check("mean latency", mean, analysis.max_mean_latency, unit="seconds", note=means),
        _check("mean latency against stable", mean, _times(slower, stable_mean or None),
               unit="seconds", evaluable=paired, note=means,
               basis=f"{shown(slower, 'number')} times stable's {shown(stable_mean, 'seconds')}"),
        _check("client errors against stable", canary.client_error_rate, _plus(excess, stable.client_error_rate),
               unit="share", evaluable=paired, note=refused,
               basis=f"{shown(excess, 'share')} over stable's {shown(stable.client_error_rate, 'share')}"),
        _check("client errors", canary.client_error_rate, None if excess is None else MOST_REFUSED, unit="share",
               evaluable=not paired, note=f"{canary.client_errors} of {canary.requests}"),
    )  # fmt: skip


def undecided(checks: tuple[Check, ...]) -> tuple[Check, ...]:
    """The same comparisons without a verdict yet."""
    return tuple(replace(check, verdict="hold") if check.verdict != "skip" else check for check in checks)


def shown(value: float | None, unit: Unit) -> str:
    """A number of a check with its unit, or a dash."""
    if value is None:
        return "-"
    written = {"share": f"{100 * value:.4g} %", "seconds": f"{1000 * value:.4g} ms", "odds": f"1 in {value:,.0f}"}
    return written.get(unit, f"{value:.4g}")


def timed(counters: Counters) -> str:
    """A mean latency and of how many answers it is."""
    mean, count = counters.mean_latency, counters.latency_count
    return "none timed" if mean is None else f"{1000 * mean:.1f} ms in {count} answers"


def _check(
    name: str,
    value: float | None,
    limit: float | None,
    *,
    unit: Unit,
    evaluable: bool = True,
    note: str,
    basis: str = "",
) -> Check:
    verdict: Verdict = "skip"
    if evaluable and value is not None and limit is not None:
        verdict = "fail" if value > limit else "pass"
    made_from = "" if limit is None else basis
    return Check(name=name, value=value, limit=limit, verdict=verdict, note=note, unit=unit, basis=made_from)


def _times(factor: float | None, value: float | None) -> float | None:
    return None if factor is None or value is None else factor * value


def _plus(margin: float | None, value: float) -> float | None:
    return None if margin is None else margin + value
