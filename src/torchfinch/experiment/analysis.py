"""What the users of an experiment show, per user and in the order of honesty: the split first, then the difference."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from torchfinch.experiment.assignment import Variant
from torchfinch.experiment.claim import claim
from torchfinch.experiment.planning import expected_users
from torchfinch.experiment.start import DAY, Started
from torchfinch.experiment.statistics import (
    Floats,
    Interval,
    always_valid,
    linearised,
    sample_ratio_p,
    sequential_sample_ratio_p,
    welch,
)
from torchfinch.experiment.users import Users

ALARM = 0.001
"""A split as uneven as this comes by chance in one of a thousand experiments."""
FIRST_LOOK = 100
"""Users of each variant before an always-valid interval is shown: it rests on a normal approximation."""
MOST_LOOKS = 20


@dataclass(frozen=True)
class SampleRatio:
    """Whether the users are split as planned; if not, something loses or moves users, and all else is void."""

    treated: int
    users: int
    share: float
    """The planned share of the treatment."""
    p_value: float
    sequential: bool
    """Whether the p-value holds for any number of looks."""

    @property
    def alarm(self) -> bool:
        """Whether the split is not as planned."""
        return self.p_value < ALARM


@dataclass(frozen=True)
class Arm:
    """One variant."""

    variant: Variant
    users: int
    complete: int
    """Users whose window is over; they alone are compared."""
    value: float | None
    """The metric: a rate, a mean per user, or a ratio; None where nothing is known."""


@dataclass(frozen=True)
class Look:
    """The always-valid interval as it was at some time."""

    time: float
    users: int
    interval: Interval


@dataclass(frozen=True)
class Analysis:
    """What is known at `now`; times are seconds since 1970."""

    started: Started
    now: float
    sample_ratio: SampleRatio
    arms: tuple[Arm, Arm]
    """Control and treatment."""
    interval: Interval | None
    """Welch's at the planned end, always-valid before it; None where nothing can be said."""
    looks: tuple[Look, ...]
    misassigned: int
    unmatched: int
    claim: str
    """The one sentence that may be said."""

    @property
    def ended(self) -> bool:
        """Whether the planned end has come."""
        return self.now >= self.started.end

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = {**asdict(self), "started": self.started.model_dump(), "ended": self.ended}
        values["sample_ratio"]["alarm"] = self.sample_ratio.alarm
        return values


def analyse(users: Users, started: Started, *, now: float) -> Analysis:
    """Judge an experiment at `now`: by Welch's test once it has ended, by an always-valid interval before."""
    complete = _complete(users, started, now=now)
    split, (interval, why_not) = sample_ratio(users, started, now=now), _compare(complete, started, now=now)
    arms = (_arm("control", users, complete, started), _arm("treatment", users, complete, started))
    return Analysis(
        started=started,
        now=now,
        sample_ratio=split,
        arms=arms,
        interval=None if split.alarm else interval,
        looks=() if split.alarm else looks(users, started, now=now),
        misassigned=users.misassigned,
        unmatched=users.unmatched,
        claim=claim(started, interval, why_not=_uneven(split) or why_not, now=now),
    )


def sample_ratio(users: Users, started: Started, *, now: float) -> SampleRatio:
    """The split of all who entered: chi-square at the planned end, a sequential test for looks before it."""
    share, treated = started.experiment.share, int(users.treated.sum())
    sequential = now < started.end
    if sequential:
        p_value = sequential_sample_ratio_p(users.treated, share=share)
    else:
        p_value = sample_ratio_p(treated, len(users.treated), share=share) if len(users.treated) else 1.0
    return SampleRatio(treated, len(users.treated), share, p_value, sequential)


def looks(users: Users, started: Started, *, now: float) -> tuple[Look, ...]:
    """The always-valid interval at the end of each day, or of every few days, and the last one now or at the end."""
    last = min(now, started.end)
    days = (last - started.begin) / DAY
    step = max(1, math.ceil(days / MOST_LOOKS))
    times = [*(started.begin + day * DAY for day in range(step, math.ceil(days), step)), last]
    shown = []
    for time in times:
        complete = _complete(users, started, now=time)
        if _obstacle(complete, started, least=FIRST_LOOK) is None:
            shown.append(Look(time, len(complete.exposed), _always_valid(complete, started)))
    return tuple(shown)


def _complete(users: Users, started: Started, *, now: float) -> Users:
    return users.until(min(now, started.end) - started.experiment.window_days * DAY)


def _compare(complete: Users, started: Started, *, now: float) -> tuple[Interval | None, str | None]:
    """The interval, or why there is none."""
    ended = now >= started.end
    why_not = _obstacle(complete, started, least=2 if ended else FIRST_LOOK)
    if why_not:
        return None, why_not
    if ended:
        return welch(*_values(complete, started), alpha=started.experiment.alpha), None
    return _always_valid(complete, started), None


def _always_valid(complete: Users, started: Started) -> Interval:
    experiment = started.experiment
    control, treatment = _values(complete, started)
    return always_valid(control, treatment, alpha=experiment.alpha, planned=expected_users(experiment))


def _obstacle(complete: Users, started: Started, *, least: int) -> str | None:
    metric = started.experiment.metric
    treated = int(complete.treated.sum())
    for variant, count in (("control", len(complete.treated) - treated), ("treatment", treated)):
        if count < least:
            return f"{count} users of the {variant} have their window of outcomes behind them, {least} are needed"
    if metric.kind == "ratio" and not all(complete.counts[complete.treated == arm].any() for arm in (False, True)):
        return f"a variant has no outcome {metric.name}"
    if all(values.std() == 0 for values in _values(complete, started)):
        return f"{metric.name} is the same for every user of a variant"
    return None


def _values(users: Users, started: Started) -> tuple[Floats, Floats]:
    """A value per user whose mean is the metric, of control and treatment."""
    return _values_of(users, started, treated=False), _values_of(users, started, treated=True)


def _values_of(users: Users, started: Started, *, treated: bool) -> Floats:
    own = users.treated == treated
    kind = started.experiment.metric.kind
    if kind == "ratio":
        return linearised(users.totals[own], users.counts[own])
    values: Floats = users.any[own].astype(np.float64) if kind == "conversion" else users.totals[own]
    return values


def _arm(variant: Variant, users: Users, complete: Users, started: Started) -> Arm:
    treated = variant == "treatment"
    own = complete.treated == treated
    known = complete.counts[own].any() if started.experiment.metric.kind == "ratio" else own.any()
    value = float(_values_of(complete, started, treated=treated).mean()) if known else None
    return Arm(variant, int((users.treated == treated).sum()), int(own.sum()), value)


def _uneven(split: SampleRatio) -> str | None:
    if not split.alarm:
        return None
    return (
        f"{split.treated:,} of {split.users:,} users have the treatment where {split.share:.4g} of them were planned "
        f"(p = {split.p_value:.1g}), so that users are lost or moved somewhere; find out where first"
    )
