"""Comparisons agree with SciPy and with what is published, and claim no more than they may."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binomtest, ttest_rel

from torchfinch.errors import TorchfinchError
from torchfinch.evaluation import (
    claim_of_answers,
    claim_of_errors,
    claim_of_folds,
    compare_answers,
    compare_errors,
    compare_folds,
)

FIRST = [0.980, 0.985, 0.979, 0.990, 0.987]
SECOND = [0.984, 0.987, 0.985, 0.993, 0.992]
NAMES = ("old", "new")
SCORES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=12)


@settings(max_examples=50, deadline=None)
@given(SCORES)
def test_the_plain_t_test_is_scipys_and_the_corrected_one_is_never_surer(pairs: list[tuple[float, float]]) -> None:
    first, second = np.array(pairs).T
    if np.std(second - first) < 1e-6:
        return
    result = compare_folds(first, second, test_share=0.25)
    assert result.p_plain is not None
    assert result.p_corrected is not None
    assert result.interval is not None

    assert result.t_plain == pytest.approx(ttest_rel(second, first).statistic)
    assert result.p_plain == pytest.approx(ttest_rel(second, first).pvalue, abs=1e-9)
    assert result.p_corrected >= result.p_plain
    assert (result.interval[0] <= 0 <= result.interval[1]) == (result.p_corrected >= 0.05)


def test_a_worked_example_by_hand() -> None:
    # differences 4, 2, 6, 3, 5 thousandths: mean 4, sd sqrt(2.5); t = 4 / (1.5811 sqrt(1/5 + 1/4)) = 3.771, 4 degrees
    result = compare_folds(FIRST, SECOND, test_share=0.25)

    assert result.difference == pytest.approx(0.004)
    assert result.t_corrected == pytest.approx(3.771, abs=5e-4)
    assert result.p_plain == pytest.approx(0.00481, abs=5e-5)
    assert result.p_corrected == pytest.approx(0.01958, abs=5e-5)
    assert result.interval == pytest.approx((0.001055, 0.006945), abs=5e-6)
    assert result.effect == pytest.approx(4 / math.sqrt(2.5))
    assert result.effect_interval == pytest.approx((0.667, 4.392), abs=5e-3)


def test_alpha_decides_the_claim_and_how_wide_the_interval_is() -> None:
    usual, strict = (compare_folds(FIRST, SECOND, alpha=alpha) for alpha in (0.05, 0.01))
    assert usual.interval
    assert strict.interval

    assert usual.p_corrected == strict.p_corrected == pytest.approx(0.01958, abs=5e-5)
    assert usual.interval[0] > 0 > strict.interval[0]
    assert "95 % interval" in claim_of_folds(usual, names=NAMES, metric="accuracy")
    claim = claim_of_folds(strict, names=NAMES, metric="accuracy")
    assert claim.startswith("It may not be claimed that either is better")
    assert "99 % interval" in claim
    assert "uncorrected p = 0.0048" in claim


def test_alpha_is_heeded_for_answers_and_errors_too() -> None:
    targets = np.zeros(100, dtype=int)
    worse = np.where(np.arange(100) < 6, 1, 0)  # McNemar p = 2 / 2**6 = 0.03
    claims = [
        claim_of_answers(compare_answers(targets, targets, worse, alpha=alpha), names=NAMES) for alpha in (0.05, 0.02)
    ]
    assert [claim.startswith("It may be claimed") for claim in claims] == [True, False]
    assert "98 % interval" in claims[1]

    truth = np.zeros(50)
    near = np.random.default_rng(0).normal(size=50)
    narrow, wide = (compare_errors(truth, near, near[::-1], alpha=alpha).interval for alpha in (0.5, 0.01))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize("alpha", [0.0, 0.0009, 0.51, -0.05, 5.0, math.nan])
def test_an_alpha_out_of_bounds_is_told(alpha: float) -> None:
    said = rf"alpha is {alpha} .*from 0\.001 to 0\.5"
    with pytest.raises(TorchfinchError, match=said):
        compare_folds(FIRST, SECOND, alpha=alpha)
    with pytest.raises(TorchfinchError, match=said):
        compare_answers([0, 1], [0, 1], [0, 1], alpha=alpha)
    with pytest.raises(TorchfinchError, match=said):
        compare_errors(FIRST, FIRST, SECOND, alpha=alpha)


def test_the_share_of_a_k_fold_cross_validation_is_known() -> None:
    assert compare_folds(FIRST, SECOND) == compare_folds(FIRST, SECOND, test_share=1 / 4)


def test_a_lower_loss_is_better() -> None:
    assert compare_folds(FIRST, SECOND, test_share=0.25, lower_is_better=True).difference == pytest.approx(-0.004)


def test_folds_that_all_differ_alike_are_not_tested() -> None:
    result = compare_folds([0.5, 0.6, 0.7], [0.6, 0.7, 0.8], test_share=0.5)

    assert result.p_corrected is None
    assert claim_of_folds(result, names=NAMES, metric="accuracy").startswith("Nothing may be claimed")
    json.dumps(result.to_dict(), allow_nan=False)


def test_the_corrected_test_keeps_its_promise_where_the_plain_one_does_not() -> None:
    """Scores of folds that overlap: a common part, as large as the overlap makes it, and a part of each fold's own."""
    random = np.random.default_rng(0)
    common = random.normal(scale=math.sqrt(0.25), size=(2000, 1))  # variance test_share beside each fold's 1
    differences = common + random.normal(size=(2000, 5))
    results = [compare_folds(np.zeros(5), each, test_share=0.25) for each in differences]

    assert np.mean([result.p_plain < 0.05 for result in results if result.p_plain is not None]) > 0.10
    corrected = np.mean([result.p_corrected < 0.05 for result in results if result.p_corrected is not None])
    assert corrected == pytest.approx(0.05, abs=0.015)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(2, 50))
def test_mcnemars_test_is_the_exact_binomial_one(only_first: int, only_second: int, both: int) -> None:
    targets = np.zeros(only_first + only_second + both, dtype=int)
    first, second = targets.copy(), targets.copy()
    second[:only_first] = 1
    first[only_first : only_first + only_second] = 1
    result = compare_answers(targets, first, second)

    assert (result.only_first, result.only_second) == (only_first, only_second)
    if only_first + only_second:
        assert result.p == pytest.approx(binomtest(only_first, only_first + only_second).pvalue)
    else:
        assert result.p == 1
    assert result.difference == pytest.approx((only_second - only_first) / len(targets))
    assert result.interval[0] <= result.difference <= result.interval[1]
    json.dumps(result.to_dict(), allow_nan=False)


def test_the_bootstrap_interval_is_about_as_wide_as_theory_says() -> None:
    targets = np.zeros(1000, dtype=int)
    first, second = targets.copy(), targets.copy()
    first[:80], second[60:100] = 1, 1  # 60 only the second has right, 20 only the first
    result = compare_answers(targets, first, second)
    error = math.sqrt((80 / 1000 - 0.04**2) / 1000)

    assert result.interval == pytest.approx((0.04 - 1.96 * error, 0.04 + 1.96 * error), abs=0.003)
    assert result.odds_ratio == 3
    low = beta.ppf(0.025, 60, 21)  # Clopper and Pearson: of 60 in 80
    assert result.odds_interval[0] == pytest.approx(low / (1 - low))
    assert result.p < 0.0001


def test_regressors_are_compared_by_how_far_they_are_off_the_same_images() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=(200, 2))
    far, near = (truth + random.choice([-1, 1], size=(200, 2)) * reach for reach in (1.0, 0.5))
    near[0] += 10
    result = compare_errors(truth, far, near)

    assert result.first == pytest.approx(1)
    assert result.difference == pytest.approx(result.first - result.second)
    assert result.interval[0] < result.difference < result.interval[1] < 0.501
    assert claim_of_errors(result, names=NAMES).startswith("It may be claimed that new errs less than old")
    assert claim_of_errors(compare_errors(truth, near, far), names=NAMES).startswith("It may be claimed that old errs")
    assert "may not be claimed that either errs less" in claim_of_errors(compare_errors(truth, far, far), names=NAMES)


def test_predictions_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(TorchfinchError, match=r"targets of shape \(3,\), predictions of \(3, 1\) and \(3,\)"):
        compare_errors([1, 2, 3], [[1], [2], [3]], [1, 2, 3])


def test_the_same_seed_gives_the_same_interval() -> None:
    random = np.random.default_rng(1)
    targets, first, second = random.integers(3, size=(3, 100))

    assert compare_answers(targets, first, second, seed=4) == compare_answers(targets, first, second, seed=4)


def test_claims_name_the_better_one_and_their_limits() -> None:
    better = claim_of_folds(compare_folds(FIRST, SECOND, test_share=0.25), names=NAMES, metric="accuracy")
    assert better.startswith("It may be claimed that new is better than old in accuracy")
    assert "corrected p = 0.02" in better
    assert "not for other data" in better

    unsure = claim_of_folds(
        compare_folds(FIRST, [0.984, 0.987, 0.985, 0.993, 0.985], test_share=0.25), names=NAMES, metric="accuracy"
    )
    assert unsure.startswith("It may not be claimed that either is better")
    assert "nor is it shown that they are equal" in unsure

    targets = np.zeros(100, dtype=int)
    worse = np.where(np.arange(100) < 20, 1, 0)
    sentence = claim_of_answers(compare_answers(targets, targets, worse), names=NAMES)
    assert sentence.startswith("It may be claimed that old answers more images right than new")
    assert "one training of each" in sentence


def test_a_claim_says_where_the_plain_test_would_mislead() -> None:
    result = compare_folds([0, 0, 0, 0, 0], [3, 1, 4, 0.5, 3], test_share=0.25)
    assert "uncorrected p = 0.0" in claim_of_folds(result, names=NAMES, metric="accuracy")


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ([1.0], [1.0], "1 and 1 scores are no pairs"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], "2 and 3 scores"),
        ([1.0, math.nan], [1.0, 2.0], "no finite numbers"),
    ],
)
def test_scores_that_cannot_be_paired_are_refused(first: list[float], second: list[float], said: str) -> None:
    with pytest.raises(TorchfinchError, match=said):
        compare_folds(first, second, test_share=0.25)


def test_answers_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(TorchfinchError, match="3 targets, 2 and 3 answers"):
        compare_answers([0, 1, 2], [0, 1], [0, 1, 2])
