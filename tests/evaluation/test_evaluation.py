"""Evaluation says what scikit-learn says, and refuses numbers that make no sense."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    auc,
    average_precision_score,
    balanced_accuracy_score,
    classification_report,
    confusion_matrix,
    log_loss,
    matthews_corrcoef,
    recall_score,
    roc_auc_score,
)
from torch import Tensor, nn

from torchfinch.errors import TorchfinchError
from torchfinch.evaluation import evaluate, evaluate_regression, probabilities
from torchfinch.evaluation.curves import precision_recall_curves, roc_curves
from torchfinch.handler import Preprocessing

LABELS = ("ant", "bee", "cat")
GREY = Preprocessing(size=(2, 2), mode="L", mean=(0.5,), std=(0.5,))


def random_answers(classes: int, samples: int, seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Targets with every class among them, and softmax rows that are right more often than not."""
    random = np.random.default_rng(seed)
    targets = np.append(np.arange(classes), random.integers(classes, size=samples - classes))
    scores = random.normal(size=(samples, classes)) + 1.5 * np.eye(classes)[targets]
    rows = torch.from_numpy(scores).float().softmax(dim=1).double()
    return targets, (rows / rows.sum(dim=1, keepdim=True)).numpy()


def counted(*, tp: int, tn: int, fp: int, fn: int) -> tuple[list[int], list[list[float]]]:
    """Targets and rows of a binary classifier with these counts; class 1 is the positive one."""
    no, yes = [0.8, 0.2], [0.3, 0.7]
    return [1] * tp + [0] * tn + [0] * fp + [1] * fn, [yes] * tp + [no] * tn + [yes] * fp + [no] * fn


class Brightness(nn.Module):
    """Scores that are the mean of the normalised image, for one class and for the other."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        mean: Tensor = self.dropout(images.mean(dim=(1, 2, 3)) * self.scale)
        return torch.stack([mean, -mean], dim=1)


def test_a_worked_example_of_a_rare_class() -> None:
    evaluation = evaluate(*counted(tp=85, tn=860, fp=40, fn=15), labels=["healthy", "ill"])
    ill = evaluation.per_class["ill"]

    assert evaluation.confusion_matrix == ((860, 40), (15, 85))
    assert evaluation.accuracy == pytest.approx(0.945)
    assert ill.precision == pytest.approx(0.68)
    assert ill.recall == pytest.approx(0.85)
    assert ill.f1 == pytest.approx(0.7556, abs=5e-5)
    assert ill.specificity == pytest.approx(0.9556, abs=5e-5)
    assert evaluation.balanced_accuracy == pytest.approx(0.9028, abs=5e-5)
    assert evaluation.matthews_correlation == pytest.approx(0.7307, abs=5e-5)


def test_a_worked_example_of_a_regression() -> None:
    evaluation = evaluate_regression([2.5, 3.2, 1.8, 4.1, 2.9], [2.3, 3.5, 1.6, 4.0, 3.1])

    assert evaluation.mae == pytest.approx(0.2)
    assert evaluation.mse == pytest.approx(0.044)
    assert evaluation.rmse == pytest.approx(0.20976, abs=5e-6)
    assert evaluation.r2 == pytest.approx(0.92414, abs=5e-6)
    assert evaluation.huber == pytest.approx(0.022)


def test_the_huber_loss_is_torchs_on_both_sides_of_delta() -> None:
    targets, predictions = torch.linspace(-3, 3, 13), torch.zeros(13)
    expected = nn.functional.huber_loss(predictions, targets, delta=0.7)

    assert evaluate_regression(targets, predictions, delta=0.7).huber == pytest.approx(float(expected), rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 5), st.integers(10, 200), st.integers(0, 10_000))
def test_every_number_is_scikit_learns(classes: int, samples: int, seed: int) -> None:
    targets, rows = random_answers(classes, samples, seed)
    answers, labels = rows.argmax(axis=1), [str(number) for number in range(classes)]
    report = classification_report(targets, answers, output_dict=True, zero_division=0)
    evaluation = evaluate(targets, rows, labels=labels)

    assert evaluation.samples == samples
    assert np.array_equal(evaluation.confusion_matrix, confusion_matrix(targets, answers))
    assert evaluation.accuracy == pytest.approx(report["accuracy"])
    assert evaluation.cross_entropy == pytest.approx(
        log_loss(targets, rows / rows.sum(axis=1, keepdims=True)), abs=1e-5
    )
    assert evaluation.balanced_accuracy == pytest.approx(balanced_accuracy_score(targets, answers))
    assert evaluation.matthews_correlation == pytest.approx(matthews_corrcoef(targets, answers))
    members = np.eye(classes)[targets]
    assert evaluation.roc_auc == pytest.approx(roc_auc_score(members, rows), abs=1e-6)
    assert evaluation.average_precision == pytest.approx(average_precision_score(members, rows), abs=1e-6)
    for kind in ("macro", "weighted"):
        average, expected = evaluation.averages[kind], report[f"{kind} avg"]
        assert (average.precision, average.recall, average.f1) == pytest.approx(
            (expected["precision"], expected["recall"], expected["f1-score"])
        )
    assert evaluation.averages["micro"].f1 == pytest.approx(evaluation.accuracy)
    for number, (label, metrics) in enumerate(evaluation.per_class.items()):
        expected = report[label]
        assert (metrics.precision, metrics.recall, metrics.f1, metrics.support) == pytest.approx(
            (expected["precision"], expected["recall"], expected["f1-score"], expected["support"])
        )
        assert metrics.specificity == pytest.approx(recall_score(targets == number, answers == number, pos_label=False))
    pooled = recall_score(members.ravel(), np.eye(classes)[answers].ravel(), pos_label=0)
    specificities = [metrics.specificity for metrics in evaluation.per_class.values()]
    supports = [metrics.support for metrics in evaluation.per_class.values()]
    assert evaluation.averages["macro"].specificity == pytest.approx(np.mean(specificities))
    assert evaluation.averages["weighted"].specificity == pytest.approx(np.average(specificities, weights=supports))
    assert evaluation.averages["micro"].specificity == pytest.approx(pooled)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=2, max_size=50))
def test_regression_errors_keep_their_order(pairs: list[tuple[float, float]]) -> None:
    targets, predictions = zip(*pairs, strict=True)
    evaluation = evaluate_regression(targets, predictions)

    assert evaluation.mae <= evaluation.rmse + 1e-9
    assert evaluation.rmse == pytest.approx(math.sqrt(evaluation.mse))
    assert evaluation.huber <= min(evaluation.mae, evaluation.mse / 2) + 1e-9
    assert evaluation.r2 <= 1


def test_calibration_is_measured_by_confidence() -> None:
    rows = [[0.9, 0.1]] * 10 + [[0.4, 0.6]] * 10
    targets = [0] * 9 + [1] + [1] * 5 + [0] * 5  # nine of ten as stated, five of ten where six were
    evaluation = evaluate(targets, rows, labels=("no", "yes"))
    low, high = evaluation.reliability

    assert (low.images, low.confidence, low.accuracy) == pytest.approx((10, 0.6, 0.5))
    assert (high.images, high.confidence, high.accuracy) == pytest.approx((10, 0.9, 0.9))
    assert evaluation.calibration_error == pytest.approx(0.05)


def test_points_lie_evenly_along_a_curve_however_rare_the_class_is() -> None:
    random = np.random.default_rng(0)
    targets = np.arange(10_000) % 10
    scores = random.normal(size=(10_000, 10)) + 1.5 * np.eye(10)[targets]
    rows = torch.from_numpy(scores).float().softmax(dim=1).numpy()
    labels = [str(number) for number in range(10)]
    _, roc = roc_curves(targets, rows, labels=labels, classes=[3])
    _, precision_recall = precision_recall_curves(targets, rows, labels=labels, classes=[3])

    for curve in (roc, precision_recall):
        assert len(curve.points) <= 120
        assert auc(*zip(*curve.points, strict=True)) == pytest.approx(curve.area, abs=2e-3)
    recall = [x for x, _ in precision_recall.points]
    assert (recall[0], recall[-1]) == (0, 1)
    assert np.diff(recall).max() < 0.01


def test_a_classifier_that_gives_every_image_the_same_has_the_curves_of_chance() -> None:
    targets, rows = np.array([0, 0, 0, 1]), np.full((4, 2), 0.5, np.float32)
    [roc] = roc_curves(targets, rows, labels=("no", "yes"), classes=[1])
    [precision_recall] = precision_recall_curves(targets, rows, labels=("no", "yes"), classes=[1])

    assert (roc.area, roc.points) == (0.5, ((0, 0), (1, 1)))
    assert (precision_recall.area, precision_recall.points) == (0.25, ((0, 0.25), (1, 0.25)))


def test_tensors_give_what_arrays_give() -> None:
    targets, rows = random_answers(3, 50)

    assert evaluate(torch.from_numpy(targets), torch.from_numpy(rows), labels=LABELS) == evaluate(
        targets, rows, labels=LABELS
    )


def test_answers_alone_are_measured_as_rows_of_a_single_one() -> None:
    evaluation = evaluate([0, 1, 2, 1], np.eye(3)[[0, 1, 2, 2]], labels=LABELS)

    assert evaluation.accuracy == 0.75
    assert evaluation.confusion_matrix == ((1, 0, 0), (0, 1, 1), (0, 0, 1))


def test_r2_of_several_outputs_is_the_mean_of_theirs() -> None:
    random = np.random.default_rng(0)
    truth, answers = random.normal(size=(2, 20, 2)) * (1, 10)
    each = [evaluate_regression(truth[:, place], answers[:, place]).r2 for place in (0, 1)]

    assert evaluate_regression(truth, answers).r2 == pytest.approx(np.mean(each))


def test_a_class_that_nobody_saw_or_answered_scores_zero_and_is_not_the_worst() -> None:
    evaluation = evaluate([0, 0, 1], [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.1, 0.9, 0.0]], labels=LABELS)

    assert evaluation.per_class["cat"].support == 0
    assert evaluation.per_class["cat"].f1 == 0
    assert evaluation.per_class["cat"].roc_auc is None
    assert evaluation.worst[0] in {"ant", "bee"}
    assert evaluation.balanced_accuracy == 0.75


def test_images_of_one_class_alone_have_no_ranking() -> None:
    evaluation = evaluate([1, 1], [[0.3, 0.7], [0.4, 0.6]], labels=("no", "yes"))

    assert evaluation.accuracy == 1
    assert evaluation.matthews_correlation == 0
    assert evaluation.roc_auc is None
    assert evaluation.average_precision is None


def test_the_dictionary_is_json_with_a_number_for_every_class() -> None:
    targets, rows = random_answers(3, 50)
    written = json.loads(json.dumps(evaluate(targets, rows, labels=LABELS).to_dict(), allow_nan=False))

    assert written["labels"] == list(LABELS)
    assert sum(map(sum, written["confusion_matrix"])) == written["samples"] == 50
    assert set(written["per_class"]["ant"]) >= {"precision", "recall", "f1", "support"}


@pytest.mark.parametrize(
    ("targets", "rows", "message"),
    [
        ([], np.empty((0, 3)), "0 targets"),
        ([0], [[0.5, 0.5]], "do not fit"),
        ([0, 1], [[1, 0, 0]], "do not fit"),
        ([3], [[1, 0, 0]], "target 3 is no class.*0 to 2"),
        ([-1], [[1, 0, 0]], "target -1 is no class"),
        ([0, 1], [[1, 0, 0], [math.nan, 0.5, 0.5]], "row 1 is no probabilities: nan, 0.5, 0.5"),
        ([0, 1], [0, 2], r"shape \(2,\) are one number for each target .*numpy.eye\(3\)\[answers\]"),
        ([0], [[3.2, -1.5, 0.1]], "row 0 is no probabilities: 3.2, -1.5, 0.1"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(targets: list[int], rows: list[Any], message: str) -> None:
    with pytest.raises(TorchfinchError, match=message):
        evaluate(targets, rows, labels=LABELS)


@pytest.mark.parametrize(
    ("targets", "predictions", "message"),
    [
        ([1.0], [1.0], "cannot be compared"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], r"\(2,\) and predictions of shape \(3,\)"),
        ([1.0, 2.0], [1.0, math.inf], "predictions hold values that are no finite numbers"),
        ([1.0, math.nan], [1.0, 2.0], "targets hold"),
    ],
)
def test_values_that_do_not_fit_are_refused(targets: list[float], predictions: list[float], message: str) -> None:
    with pytest.raises(TorchfinchError, match=message):
        evaluate_regression(targets, predictions)


def test_probabilities_are_the_softmax_of_normalised_pixels_without_dropout() -> None:
    model = Brightness().train()
    images = torch.randint(256, (5, 1, 2, 2), dtype=torch.uint8)
    mean = GREY.normalise(images).mean(dim=(1, 2, 3))
    rows = probabilities(model, images, preprocessing=GREY, batch_size=2)

    torch.testing.assert_close(rows, torch.stack([mean, -mean], dim=1).softmax(dim=1))
    assert not rows.requires_grad
    assert model.training
