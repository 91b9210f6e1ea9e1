"""Which of two models is better, and what may be claimed: tests on paired scores. Pure functions.

Differences are always second minus first, and positive where the second is better.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, bootstrap, t

from torchfinch.errors import TorchfinchError

ALPHA = 0.05
"""Unless another one is given."""
_LEAST, _MOST = 0.001, 0.5
_RESAMPLES = 9999  # five of them lie beyond each end of an interval of the least alpha
_VALUES_AT_ONCE = 5_000_000  # of resampled differences in memory

Interval = tuple[float, float]


@dataclass(frozen=True)
class FoldComparison:
    """Two cross-validations on the same folds. Tests are `None` where all folds differ by the same amount."""

    first: float
    """Mean score of the first."""
    second: float
    difference: float
    """Mean over the folds."""
    interval: Interval | None = None
    """Of the difference, by the corrected test."""
    t_plain: float | None = None
    """Statistic of the paired t-test, with one degree of freedom fewer than there are folds."""
    p_plain: float | None = None
    """Paired t-test; too sure of itself, since the trainings share most of their images."""
    t_corrected: float | None = None
    """With the correction of Nadeau and Bengio (Inference for the Generalization Error, 2003)."""
    p_corrected: float | None = None
    effect: float | None = None
    """Cohen's d of paired scores: mean difference over the standard deviation of the differences."""
    effect_interval: Interval | None = None
    """That of the difference, in the same unit."""
    alpha: float = ALPHA
    """A p-value below it is called a difference, and intervals hold 1 - alpha."""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class TestSetComparison:
    """Two trained models on the same test images."""

    __test__ = False  # not for pytest

    samples: int
    first: float
    """Accuracy of the first."""
    second: float
    difference: float
    interval: Interval
    """Of the difference, by a paired bootstrap over the images."""
    only_first: int
    """Images that the first alone answers right."""
    only_second: int
    p: float
    """McNemar's exact test: chance of so unequal a split of the images that only one has right, were both alike."""
    odds_ratio: float
    """`only_second / only_first`: the effect; infinite where the first is never right alone."""
    odds_interval: Interval
    alpha: float = ALPHA
    """As of folds."""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON; what is infinite or undefined is `None`."""
        numbers = asdict(self)
        numbers["odds_ratio"] = _finite(self.odds_ratio)
        numbers["odds_interval"] = tuple(map(_finite, self.odds_interval))
        return numbers


@dataclass(frozen=True)
class ErrorComparison:
    """Two trained regressors on the same test images."""

    samples: int
    first: float
    """Mean absolute error of the first."""
    second: float
    difference: float
    """How much smaller the second's is."""
    interval: Interval
    """Of the difference, by a paired bootstrap over the images."""
    alpha: float = ALPHA
    """As of folds."""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return asdict(self)


def compare_folds(
    first: ArrayLike,
    second: ArrayLike,
    *,
    alpha: float = ALPHA,
    test_share: float | None = None,
    lower_is_better: bool = False,
) -> FoldComparison:
    """Compare the scores of the same k folds; a p-value below `alpha` is called a difference.

    `test_share` is tested images per trained one: 1 / (k - 1) if not given, as of a k-fold cross-validation.

    Raises:
        TorchfinchError: there are fewer than two folds, not the same number for both, a score is no number, or `alpha`
            is not from 0.001 to 0.5.
    """
    _check(alpha)
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape or one.ndim != 1 or len(one) < 2:
        raise TorchfinchError(
            f"{one.size} and {other.size} scores are no pairs", "give one for each of two or more folds"
        )
    if not np.isfinite([one, other]).all():
        raise TorchfinchError("the scores hold values that are no finite numbers", "look at the folds that gave them")
    differences = one - other if lower_is_better else other - one
    mean, sd, folds = float(differences.mean()), float(differences.std(ddof=1)), len(differences)
    means: dict[str, Any] = {"first": float(one.mean()), "second": float(other.mean()), "difference": mean}
    if sd <= 1e-12:
        return FoldComparison(**means, alpha=alpha)
    overlap = 1 / (folds - 1) if test_share is None else test_share
    plain, corrected = (mean / (sd * math.sqrt(1 / folds + share)) for share in (0, overlap))
    reach = float(t.ppf(1 - alpha / 2, folds - 1)) * sd * math.sqrt(1 / folds + overlap)
    low, high = mean - reach, mean + reach
    return FoldComparison(
        **means,
        interval=(low, high),
        t_plain=plain,
        p_plain=float(2 * t.sf(abs(plain), folds - 1)),
        t_corrected=corrected,
        p_corrected=float(2 * t.sf(abs(corrected), folds - 1)),
        effect=mean / sd,
        effect_interval=(low / sd, high / sd),
        alpha=alpha,
    )


def compare_answers(
    targets: ArrayLike, first: ArrayLike, second: ArrayLike, *, alpha: float = ALPHA, seed: int = 0
) -> TestSetComparison:
    """Compare the answers of two classifiers to the same images, all of shape (N,); `alpha` as in `compare_folds`.

    Raises:
        TorchfinchError: there are fewer than two images, not the same number of each, or `alpha` is out of bounds.
    """
    _check(alpha)
    truth, one, other = (np.asarray(values) for values in (targets, first, second))
    if len(truth) < 2 or not truth.shape == one.shape == other.shape:
        raise TorchfinchError(
            f"{len(truth)} targets, {len(one)} and {len(other)} answers cannot be compared", "give two images or more"
        )
    right = np.stack([one == truth, other == truth]).astype(np.float64)
    differences = right[1] - right[0]
    only_first, only_second = int((differences < 0).sum()), int((differences > 0).sum())
    p, interval = _mcnemar(only_first, only_second, alpha)
    return TestSetComparison(
        samples=len(truth),
        first=float(right[0].mean()),
        second=float(right[1].mean()),
        difference=float(differences.mean()),
        interval=_bootstrap(differences, alpha, seed),
        only_first=only_first,
        only_second=only_second,
        p=p,
        odds_ratio=_odds(only_second, only_first),
        odds_interval=interval,
        alpha=alpha,
    )


def compare_errors(
    targets: ArrayLike, first: ArrayLike, second: ArrayLike, *, alpha: float = ALPHA, seed: int = 0
) -> ErrorComparison:
    """Compare the predictions of two regressors for the same images, all of shape (N,) or (N, outputs).

    The interval holds 1 - `alpha`.

    Raises:
        TorchfinchError: there are fewer than two images, not the same numbers of each, or `alpha` is out of bounds.
    """
    _check(alpha)
    truth, one, other = (np.asarray(values, dtype=np.float64) for values in (targets, first, second))
    if len(truth) < 2 or not truth.shape == one.shape == other.shape:
        raise TorchfinchError(
            f"targets of shape {truth.shape}, predictions of {one.shape} and {other.shape} cannot be compared",
            "give two images or more",
        )
    errors = np.abs(np.stack([one, other]) - truth).reshape(2, len(truth), -1).mean(axis=2)  # (2, N)
    differences = errors[0] - errors[1]
    return ErrorComparison(
        samples=len(truth),
        first=float(errors[0].mean()),
        second=float(errors[1].mean()),
        difference=float(differences.mean()),
        interval=_bootstrap(differences, alpha, seed),
        alpha=alpha,
    )


def _check(alpha: float) -> None:
    if not _LEAST <= alpha <= _MOST:
        raise TorchfinchError(f"alpha is {alpha}", f"a number from {_LEAST} to {_MOST}, such as {ALPHA}")


def _mcnemar(only_first: int, only_second: int, alpha: float) -> tuple[float, Interval]:
    if not only_first + only_second:
        return 1.0, (0.0, math.inf)
    test = binomtest(only_second, only_first + only_second)
    low, high = test.proportion_ci(1 - alpha)  # Clopper and Pearson's, exact as the test is
    return float(test.pvalue), (_odds(low, 1 - low), _odds(high, 1 - high))


def _odds(part: float, rest: float) -> float:
    if rest:
        return float(part / rest)
    return math.inf if part else math.nan


def _bootstrap(differences: NDArray[np.float64], alpha: float, seed: int) -> Interval:
    batch = max(1, _VALUES_AT_ONCE // len(differences))
    interval = bootstrap(
        (differences,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=batch,
        vectorized=True,
        confidence_level=1 - alpha,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
