"""Plans and analyses as rows for a terminal."""

from collections.abc import Sequence

from torchfinch.experiment.analysis import Analysis, Arm, Look, SampleRatio
from torchfinch.experiment.claim import day, level
from torchfinch.experiment.planning import Plan, expected_users, weeks_of
from torchfinch.experiment.spec import Experiment
from torchfinch.experiment.start import DAY, Started

Row = Sequence[object]


def plan_columns(experiment: Experiment) -> list[str]:
    """Names of the columns of `plan_row`."""
    return ["effect", f"users for {experiment.power:.0%}", "days", "weeks", f"power in {experiment.days:g} days"]


def plan_row(plan: Plan) -> Row:
    """One size of the effect."""
    return f"{plan.effect:.4g}", f"{plan.users:,}", plan.days, weeks_of(plan.days), f"{plan.power:.0%}"


def plan_sentence(experiment: Experiment, plan: Plan) -> str:
    """Whether the days that the file names are enough for its effect."""
    users = f"{experiment.days:g} days bring about {expected_users(experiment):,.0f} users"
    if plan.power < experiment.power:
        return (
            f"{users}, which show an effect of {plan.effect:.4g} with power {plan.power:.0%}: too few for "
            f"{experiment.power:.0%}, which needs {weeks_of(plan.days)} weeks"
        )
    return f"{users}, which show an effect of {plan.effect:.4g} with power {plan.power:.0%}"


def progress(started: Started, *, now: float) -> str:
    """How far the experiment is."""
    experiment = started.experiment
    if now < started.begin:
        return f"{experiment.name} begins {day(started.begin)}"
    if now >= started.end:
        return f"{experiment.name} has ended, {day(started.begin)} to {day(started.end)}"
    gone = f"{(now - started.begin) / DAY:.1f} of {experiment.days:g} days"
    return f"{experiment.name}: {gone} in which users enter; planned end {day(started.end)}"


def split_row(variant: str, users: int, split: SampleRatio) -> Row:
    """Users of a variant, their share and the planned one."""
    planned = split.share if variant == "treatment" else 1 - split.share
    return variant, f"{users:,}", f"{users / max(split.users, 1):.2%}", f"{planned:.2%}"


def split_sentence(split: SampleRatio) -> str:
    """The check of the sample ratio in words."""
    test = "sequential test" if split.sequential else "chi-square"
    verdict = "NOT as planned, find out why first" if split.alarm else "as planned"
    return f"sample ratio: {verdict} ({test}, p = {split.p_value:.2g})"


def arm_row(arm: Arm, split: SampleRatio) -> Row:
    """A variant with its metric."""
    value = "" if arm.value is None else f"{arm.value:.4g}"
    return *split_row(arm.variant, arm.users, split), f"{arm.complete:,}", value


def interval_sentence(analysis: Analysis) -> str | None:
    """Difference, interval and test; None where there is no interval."""
    if analysis.interval is None:
        return None
    found = analysis.interval
    test = f"Welch's t-test, p = {found.p_value:.2g}" if found.p_value is not None else "always-valid"
    bounds = f"{found.low:.4g} to {found.high:.4g}"
    return f"difference: {found.difference:.4g}, {level(analysis.started.experiment.alpha)} interval {bounds} ({test})"


def look_row(look: Look) -> Row:
    """One look at the always-valid interval."""
    found = look.interval
    shown = "a difference" if found.excludes_zero else ""
    return day(look.time), f"{look.users:,}", *(f"{x:.4g}" for x in (found.difference, found.low, found.high)), shown


def left_out(analysis: Analysis) -> list[str]:
    """What the events hold and the analysis does not."""
    notes = []
    if analysis.misassigned:
        notes.append(
            f"users left out, for they were logged with another variant than their id gives: {analysis.misassigned:,}; "
            "does a proxy choose by a hash of its own, or was the salt changed?"
        )
    if analysis.unmatched:
        notes.append(f"outcomes left out, for no user who entered goes with them: {analysis.unmatched:,}")
    return notes
