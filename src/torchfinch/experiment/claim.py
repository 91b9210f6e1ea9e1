"""What may be said of an experiment, in one sentence that needs no statistician."""

from datetime import UTC, datetime

from torchfinch.experiment.spec import Experiment
from torchfinch.experiment.start import Started
from torchfinch.experiment.statistics import Interval


def claim(started: Started, interval: Interval | None, *, why_not: str | None, now: float) -> str:
    """The sentence; `why_not` says why nothing can be said, and comes before all."""
    if why_not or interval is None:
        return f"Nothing may be claimed: {why_not}."
    experiment = started.experiment
    ended = now >= started.end
    if interval.excludes_zero:
        found = f"with the treatment, {experiment.metric.name} is {_difference(interval, experiment, ended=ended)}"
        return f"{_capital(found)}." if ended else f"This may be claimed at once, and the experiment ended: {found}."
    open_ = f"{experiment.metric.name} may be from {_side(interval.low)} to {_side(interval.high)} with the treatment"
    if not ended:
        return f"No difference is shown so far, and this is no sign that there is none; go on until {day(started.end)}."
    return f"No difference is shown: {open_}{_ruled_out(interval, experiment)}."


def day(time: float) -> str:
    """A time in UTC, to the minute."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC"


def level(alpha: float) -> str:
    """The level of an interval: `95 %`."""
    return f"{100 * (1 - alpha):.4g} %"


def _difference(interval: Interval, experiment: Experiment, *, ended: bool) -> str:
    kind = "" if ended else "always-valid "
    p_value = "" if interval.p_value is None else f", p = {interval.p_value:.2g}"
    bounds = f"{interval.low:.3g} to {interval.high:.3g}"
    return f"{_side(interval.difference)} ({kind}{level(experiment.alpha)} interval {bounds}{p_value})"


def _side(difference: float) -> str:
    return f"{abs(difference):.3g} {'lower' if difference < 0 else 'higher'}"


def _ruled_out(interval: Interval, experiment: Experiment) -> str:
    effect = abs(experiment.metric.effect)
    if -effect < interval.low and interval.high < effect:
        return f"; a difference of {effect:.4g} or more is ruled out"
    return f"; a difference of {effect:.4g} is not ruled out"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
