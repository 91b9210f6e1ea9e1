"""The tests of an experiment, as functions of numbers: sample ratio, Welch, always-valid intervals, delta method."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import gammaln

Floats = NDArray[np.float64]
PRIOR_USERS = 100.0
"""Weight of the planned shares in the sequential test of the sample ratio, in users."""


@dataclass(frozen=True)
class Moments:
    """Users of one variant, the mean and the unbiased variance of their values; numbers, or one array each of looks."""

    users: float | Floats
    mean: float | Floats
    variance: float | Floats


@dataclass(frozen=True)
class Interval:
    """Treatment minus control, and what the difference may be."""

    difference: float
    low: float
    high: float
    p_value: float | None = None

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference is shown."""
        return self.low > 0 or self.high < 0


def moments(values: Floats) -> Moments:
    """Of the values of one variant's users, shape (N,), N at least 2."""
    return Moments(users=float(len(values)), mean=float(values.mean()), variance=float(values.var(ddof=1)))


def linearised(totals: Floats, counts: Floats) -> Floats:
    """Per user a value whose mean is the ratio `sum(totals) / sum(counts)` and whose variance is the ratio's.

    The delta method: `R + (total - R * count) / mean(count)`; Deng, Knoblich and Lu, "Applying the delta method in
    metric analytics", KDD 2018. `counts` must not all be 0.
    """
    ratio = totals.sum() / counts.sum()
    values: Floats = ratio + (totals - ratio * counts) / counts.mean()
    return values


def welch(control: Floats, treatment: Floats, *, alpha: float) -> Interval:
    """Welch's t-test and its interval at level `1 - alpha`, for one look at a time planned beforehand."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a variant whose users all have the same value
        result = stats.ttest_ind(treatment, control, equal_var=False)
    low, high = result.confidence_interval(1 - alpha)
    return Interval(float(treatment.mean() - control.mean()), float(low), float(high), float(result.pvalue))


def always_valid_margin(control: Moments, treatment: Moments, *, alpha: float, planned: float) -> float | Floats:
    """Half the width of an interval that holds the true difference at all looks together, `1 - alpha` of the time.

    The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit
    theory and asymptotic confidence sequences", arXiv 2103.06476: Robbins' normal mixture with an estimated variance,
    narrowest at `planned` users. The variance of a variant counts at least as that of both together, for a small arm
    with few conversions underestimates its own.
    """
    users = control.users + treatment.users
    both = _pooled_variance(control, treatment)
    variance = np.maximum(control.variance, both) / control.users
    variance = variance + np.maximum(treatment.variance, both) / treatment.users
    log = -2 * math.log(alpha)
    scaled = users * (log + math.log(log + 1)) / planned
    margin: float | Floats = np.sqrt(variance * (scaled + 1) / scaled * (np.log(scaled + 1) + log))
    return margin


def always_valid(control: Floats, treatment: Floats, *, alpha: float, planned: float) -> Interval:
    """The difference with its always-valid interval; see `always_valid_margin`."""
    margin = float(always_valid_margin(moments(control), moments(treatment), alpha=alpha, planned=planned))
    difference = float(treatment.mean() - control.mean())
    return Interval(difference, difference - margin, difference + margin)


def sample_ratio_p(treated: int, users: int, *, share: float) -> float:
    """p-value that `treated` of `users` fit the planned share: chi-square with one degree of freedom, for one look."""
    observed = [treated, users - treated]
    return float(stats.chisquare(observed, [users * share, users * (1 - share)]).pvalue)


def sequential_sample_ratio_p(treated: NDArray[np.bool_], *, share: float) -> float:
    """p-value of the same question that holds at all looks together; `treated` in the order of exposure, shape (N,).

    The multinomial test of Lindon and Malek, "Anytime-valid inference for multinomial count data", arXiv 2011.03567:
    the smallest inverse Bayes factor so far against a Dirichlet prior around the planned shares.
    """
    plan = np.array([share, 1 - share])
    counts = np.stack([np.cumsum(treated), np.cumsum(~treated)])
    prior = PRIOR_USERS * plan[:, None]
    log_factor = _log_beta(prior + counts) - _log_beta(prior) - (counts * np.log(plan)[:, None]).sum(axis=0)
    return float(min(1.0, np.exp(-log_factor.max(initial=0.0))))


def _pooled_variance(one: Moments, two: Moments) -> float | Floats:
    users, apart = one.users + two.users, one.mean - two.mean
    squares = (one.users - 1) * one.variance + (two.users - 1) * two.variance
    pooled: float | Floats = (squares + one.users * two.users / users * apart**2) / (users - 1)
    return pooled


def _log_beta(counts: Floats) -> Floats:
    values: Floats = gammaln(counts).sum(axis=0) - gammaln(counts.sum(axis=0))
    return values
