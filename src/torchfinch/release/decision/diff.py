"""Whether both versions answer the same inputs alike: what was found, and the limits of the manifest. Pure."""

from torchfinch.release.manifest.options import Diff
from torchfinch.release.state import Check, Compared, Unit, Verdict


def diff_checks(limits: Diff, found: Compared | None, *, revision: int, counted: float | None) -> tuple[Check, ...]:
    """The checks of what was found in this part of the release (`revision`).

    They hold until the counters of `counted`, seconds since 1970, have those requests: what is counted afterwards are
    users' alone.
    """
    if found is None or found.revision != revision:
        return (_hold("both versions are asked"),)
    if found.problem:
        return (_hold(found.problem),)
    if counted is None or counted < found.at:
        return (_hold(f"{_told(found)}; waiting for counts from after that"),)
    change, ratio = found.confidence_change, found.latency_ratio
    farthest = f"; the farthest apart: {found.farthest}" if found.farthest else ""
    return (
        _check("disagreement", found.share, limits.max_disagreement,
               f"{found.disagreements} of {found.requests} inputs{farthest}", "share"),
        _check("confidence change", None if change is None else abs(change), limits.max_confidence_change,
               "not told" if change is None else f"{change:+.4g} on average"),
        _check("latency as a multiple", ratio, limits.max_latency_ratio, "input by input"),
    )  # fmt: skip


def alike(found: Compared) -> str:
    """What was found, in a person's words."""
    return f"{_told(found)}; the canary is ready"


def _told(found: Compared) -> str:
    same = f"{found.requests - found.disagreements} of {found.requests} inputs are answered as by stable"
    change = "" if found.confidence_change is None else f", confidence {found.confidence_change:+.4f}"
    return f"{same}{change}, latency {found.latency_ratio:.2f} times stable's"


def _hold(why: str) -> Check:
    return Check(name="same inputs", value=None, limit=None, verdict="hold", note=why)


def _check(name: str, value: float | None, limit: float | None, note: str, unit: Unit = "number") -> Check:
    verdict: Verdict = "skip" if value is None or limit is None else "fail" if value > limit else "pass"
    return Check(name=name, value=value, limit=limit, verdict=verdict, note=note, unit=unit)
