"""How many users an experiment needs, and what it can see with those that it gets."""

import math
from dataclasses import dataclass

from scipy.stats import norm

from torchfinch.experiment.spec import Experiment, Metric

WEEK = 7


@dataclass(frozen=True)
class Plan:
    """What an effect of this size needs, and the chance to see it in the days that the file names."""

    effect: float
    users: int
    """Of both variants together, for the power that the file asks for."""
    days: int
    """Until so many have entered, rounded up."""
    power: float
    """With the users of the file's `days`."""


def plan_for(experiment: Experiment, *, effect: float) -> Plan:
    """The plan for one size of the effect; a conversion's rate must stay between 0 and 1 with it."""
    users = required_users(experiment, effect=effect)
    return Plan(
        effect=effect,
        users=users,
        days=math.ceil(users / experiment.users_per_day),
        power=power_with(experiment, expected_users(experiment), effect=effect),
    )


def plan(experiment: Experiment) -> list[Plan]:
    """For half the effect that the file names, the effect itself, and twice as much where it makes sense."""
    effects = [factor * experiment.metric.effect for factor in (0.5, 1.0, 2.0)]
    return [plan_for(experiment, effect=effect) for effect in effects if _possible(experiment.metric, effect)]


def weeks_of(days: int) -> int:
    """Full weeks that hold so many days."""
    return math.ceil(days / WEEK)


def expected_users(experiment: Experiment) -> float:
    """Users of both variants in the days that the file names."""
    return experiment.days * experiment.users_per_day


def required_users(experiment: Experiment, *, effect: float) -> int:
    """Users of both variants for the file's level and power.

    `N = (z(1 - alpha/2) + z(power))^2 * (v1 / share + v0 / (1 - share)) / effect^2`, with the variances v1 of the
    treatment and v0 of the control.
    """
    reach = norm.ppf(1 - experiment.alpha / 2) + norm.ppf(experiment.power)
    return math.ceil(float(reach**2) * _variance_of_one(experiment, effect) / effect**2)


def power_with(experiment: Experiment, users: float, *, effect: float) -> float:
    """Chance that so many users of both variants show the effect, at the file's level."""
    reach = norm.ppf(1 - experiment.alpha / 2)
    shift = abs(effect) / math.sqrt(_variance_of_one(experiment, effect) / users)
    return float(norm.cdf(shift - reach) + norm.cdf(-shift - reach))


def _variance_of_one(experiment: Experiment, effect: float) -> float:
    """Variance of the difference, times the users of both variants."""
    metric, share = experiment.metric.model_copy(update={"effect": effect}), experiment.share
    return metric.variance("treatment") / share + metric.variance("control") / (1 - share)


def _possible(metric: Metric, effect: float) -> bool:
    return metric.kind != "conversion" or 0 < metric.baseline + effect < 1
