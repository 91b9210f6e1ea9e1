"""Formulas against SciPy, exact cases and simulation. Seeds are fixed; the bounds are what chance allows."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.special import betaln

from torchfinch.experiment.statistics import (
    PRIOR_USERS,
    Floats,
    Moments,
    always_valid,
    always_valid_margin,
    linearised,
    moments,
    sample_ratio_p,
    sequential_sample_ratio_p,
    welch,
)

RUNS, USERS, FIRST = 600, 3_000, 100


def draws(kind: str, generator: np.random.Generator, shape: tuple[int, int], *, effect: float = 0.0) -> Floats:
    """Values with the mean of the kind plus `effect`."""
    if kind == "lognormal":
        return generator.lognormal(0, 1, shape) + effect
    rate = {"common conversion": 0.3, "rare conversion": 0.02}[kind] + effect
    return (generator.random(shape) < rate).astype(np.float64)


def at_every_look(values: Floats, mask: NDArray[np.bool_]) -> Moments:
    """Moments of the users in the mask after each user, shape (looks, runs); values have shape (users, runs)."""
    users = np.cumsum(mask, axis=0, dtype=np.float64)
    sums, squares = np.cumsum(values * mask, axis=0), np.cumsum(values**2 * mask, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Moments(users, sums / users, np.maximum(squares - sums**2 / users, 0) / (users - 1))


def simulate(kind: str, *, share: float, effect: float = 0.0) -> tuple[Moments, Moments]:
    """Both variants of all runs at every look; looks with fewer than FIRST users of a variant are made empty."""
    generator = np.random.default_rng(5)
    treated = generator.random((USERS, RUNS)) < share
    values = np.where(
        treated,
        draws(kind, generator, (USERS, RUNS), effect=effect),
        draws(kind, generator, (USERS, RUNS)),
    )
    return at_every_look(values, ~treated), at_every_look(values, treated)


def ever(beyond: NDArray[np.bool_], control: Moments, treatment: Moments) -> float:
    """Share of runs that are beyond at any look."""
    late_enough = (np.asarray(control.users) >= FIRST) & (np.asarray(treatment.users) >= FIRST)
    return float((beyond & late_enough).any(axis=0).mean())


@pytest.mark.parametrize(
    ("kind", "share", "effect"),
    [
        ("common conversion", 0.5, 0.0),
        ("common conversion", 0.5, 0.1),
        ("rare conversion", 0.5, 0.0),
        ("rare conversion", 0.1, 0.0),
        ("rare conversion", 0.1, 0.02),
        ("lognormal", 0.5, 0.0),
        ("lognormal", 0.1, 0.5),
    ],
)
def test_the_always_valid_interval_holds_the_truth_at_every_look_together(
    kind: str, share: float, effect: float
) -> None:
    control, treatment = simulate(kind, share=share, effect=effect)
    with np.errstate(invalid="ignore", divide="ignore"):
        margin = always_valid_margin(control, treatment, alpha=0.05, planned=USERS)
        missed = ever(np.abs(treatment.mean - control.mean - effect) > margin, control, treatment)
    assert missed <= 0.05


def test_a_t_test_at_every_look_shows_differences_that_are_not_there() -> None:
    control, treatment = simulate("common conversion", share=0.5)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(control.variance / control.users + treatment.variance / treatment.users)
        wrong = ever(np.abs(treatment.mean - control.mean) > 1.96 * error, control, treatment)
    assert wrong > 0.2


def test_the_always_valid_interval_finds_a_difference_that_is_there_and_mostly_before_the_end() -> None:
    control, treatment = simulate("common conversion", share=0.5, effect=0.1)
    with np.errstate(invalid="ignore", divide="ignore"):
        margin = always_valid_margin(control, treatment, alpha=0.05, planned=USERS)
    shown = np.abs(treatment.mean - control.mean) > margin
    assert shown[-1].mean() > 0.95
    assert np.median(shown[FIRST * 3 :].argmax(axis=0)) < USERS / 2


def test_the_always_valid_interval_is_narrowest_relative_to_welch_at_the_planned_users() -> None:
    control, treatment = (Moments(np.array([1e3, 1e4, 1e5]), 0.0, 1.0) for _ in "ab")
    margins = np.asarray(always_valid_margin(control, treatment, alpha=0.05, planned=2e4))
    relative = margins / np.sqrt(2 / np.array([1e3, 1e4, 1e5]))
    assert relative.argmin() == 1
    assert relative[1] == pytest.approx(3.04, abs=0.01)


def test_the_margin_is_robbins_normal_mixture() -> None:
    users, planned, alpha = 5_000.0, 8_000.0, 0.05
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / planned
    expected = 2 * math.sqrt(  # two equal arms of variance 1: the difference has variance 4 per user of both
        2 * (users * rho2 + 1) / (users**2 * rho2) * math.log(math.sqrt(users * rho2 + 1) / alpha)
    )
    arm = Moments(users / 2, 0.0, 1.0)
    assert always_valid_margin(arm, arm, alpha=alpha, planned=planned) == pytest.approx(expected, rel=1e-3)


def test_a_small_arm_without_a_conversion_borrows_the_variance_of_both() -> None:
    control, treatment = np.repeat([1.0, 0.0], [27, 873]), np.zeros(100)
    both = np.concatenate([control, treatment]).var(ddof=1)
    unit = always_valid_margin(Moments(900, 0, 1), Moments(100, 0, 1), alpha=0.05, planned=1_000)
    reach = unit / math.sqrt(1 / 900 + 1 / 100)
    found = always_valid_margin(moments(control), moments(treatment), alpha=0.05, planned=1_000)
    assert found == pytest.approx(reach * math.sqrt(control.var(ddof=1) / 900 + both / 100), rel=1e-6)


def test_welch_is_wrong_as_often_as_promised_with_unequal_sizes_and_variances() -> None:
    generator = np.random.default_rng(3)
    wrong = sum(
        welch(generator.normal(0, 3, 60), generator.normal(0, 1, 240), alpha=0.05).excludes_zero for _ in range(2_000)
    )
    assert wrong / 2_000 == pytest.approx(0.05, abs=0.015)


def test_welch_agrees_with_the_textbook_formula() -> None:
    control, treatment = np.array([1.0, 2, 3, 4]), np.array([2.0, 4, 6, 8, 10])
    error = math.sqrt(control.var(ddof=1) / 4 + treatment.var(ddof=1) / 5)
    freedom = error**4 / ((control.var(ddof=1) / 4) ** 2 / 3 + (treatment.var(ddof=1) / 5) ** 2 / 4)
    found = welch(control, treatment, alpha=0.1)
    reach = stats.t.ppf(0.95, freedom) * error
    assert (found.difference, found.low, found.high) == pytest.approx((3.5, 3.5 - reach, 3.5 + reach))
    assert found.p_value == pytest.approx(2 * stats.t.sf(3.5 / error, freedom))


def test_the_always_valid_interval_of_values_is_that_of_their_moments() -> None:
    control, treatment = np.arange(50.0), np.arange(60.0)
    found = always_valid(control, treatment, alpha=0.05, planned=100)
    margin = always_valid_margin(moments(control), moments(treatment), alpha=0.05, planned=100)
    assert (found.low, found.high) == pytest.approx((5 - margin, 5 + margin))


def test_the_delta_method_gives_the_ratio_and_the_spread_of_a_bootstrap() -> None:
    generator = np.random.default_rng(4)
    counts = generator.poisson(5, 400).astype(np.float64) + 1
    totals = generator.binomial(counts.astype(int), np.clip(generator.normal(0.4, 0.2, 400), 0, 1)).astype(np.float64)
    values = linearised(totals, counts)
    picks = generator.integers(0, 400, (2_000, 400))
    spread = (totals[picks].sum(axis=1) / counts[picks].sum(axis=1)).std()
    assert values.mean() == pytest.approx(totals.sum() / counts.sum())
    assert values.std(ddof=1) / 20 == pytest.approx(spread, rel=0.05)


def test_requests_of_one_user_are_no_independent_proof() -> None:
    """Equal versions, users with many requests: a test over requests cries wolf, one over users does not."""
    generator = np.random.default_rng(6)
    wrong = {"requests": 0, "users": 0}
    for _ in range(300):
        arms: list[tuple[Floats, Floats]] = []
        for _ in "ab":
            rates = np.clip(generator.normal(0.5, 0.25, 200), 0, 1)
            counts = generator.integers(1, 40, 200)
            arms.append((generator.binomial(counts, rates).astype(np.float64), counts.astype(np.float64)))
        wrong["users"] += welch(*(linearised(*arm) for arm in arms), alpha=0.05).excludes_zero
        answers = [np.repeat([1.0, 0.0], [int(t.sum()), int((c - t).sum())]) for t, c in arms]
        wrong["requests"] += welch(*answers, alpha=0.05).excludes_zero
    assert wrong["users"] / 300 < 0.09
    assert wrong["requests"] / 300 > 0.3


def test_the_chi_square_of_the_sample_ratio_alarms_as_rarely_as_promised() -> None:
    generator = np.random.default_rng(7)
    p_values = np.array([sample_ratio_p(int(k), 20_000, share=0.1) for k in generator.binomial(20_000, 0.1, 2_000)])
    assert (p_values < 0.05).mean() == pytest.approx(0.05, abs=0.015)
    assert (p_values < 0.001).mean() < 0.003


def test_a_lost_fiftieth_of_the_treatment_is_an_alarm_at_the_planned_end() -> None:
    generator = np.random.default_rng(8)
    kept = generator.binomial(generator.binomial(100_000, 0.5, 200), 0.96)
    assert np.mean([sample_ratio_p(int(k), int(k) + 50_000, share=0.5) < 0.001 for k in kept]) > 0.99


def test_the_sequential_sample_ratio_test_keeps_its_promise_over_all_looks() -> None:
    generator = np.random.default_rng(9)
    p_values = [sequential_sample_ratio_p(generator.random(3_000) < 0.2, share=0.2) for _ in range(600)]
    assert np.mean(np.array(p_values) < 0.05) <= 0.05
    assert min(p_values) < 1
    found = [sequential_sample_ratio_p(generator.random(3_000) < 0.26, share=0.2) < 0.001 for _ in range(100)]
    assert np.mean(found) > 0.9


def test_the_sequential_p_value_is_the_smallest_inverse_bayes_factor_so_far() -> None:
    treated = np.array([True] * 30 + [False] * 60)
    start = (0.5 * PRIOR_USERS, 0.5 * PRIOR_USERS)
    factor = max(
        betaln(start[0] + treated[:n].sum(), start[1] + n - treated[:n].sum()) - betaln(*start) + n * math.log(2)
        for n in range(1, 91)
    )
    assert sequential_sample_ratio_p(treated, share=0.5) == pytest.approx(math.exp(-factor))
    assert sequential_sample_ratio_p(treated[:0], share=0.5) == 1.0
