"""Every number on a classifier, from true classes and probabilities, with scikit-learn's definitions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    log_loss,
    matthews_corrcoef,
    precision_recall_fscore_support,
    roc_auc_score,
)

from torchfinch.errors import TorchfinchError
from torchfinch.evaluation.calibration import Bin, expected_calibration_error, reliability


@dataclass(frozen=True)
class ClassMetrics:
    """One class against all others; a ratio with nothing below the line is 0."""

    precision: float
    """TP / (TP + FP): how many of the answers with this label are right."""
    recall: float
    """TP / (TP + FN): how many images of this class are found."""
    specificity: float
    """TN / (TN + FP): how many images of other classes are not taken for this one."""
    f1: float
    """Harmonic mean of precision and recall."""
    support: int
    """Images of this class."""
    roc_auc: float | None
    """Chance that an image of this class gets a higher probability of it than one of another; `None` without both."""
    average_precision: float | None
    """Precision averaged over the steps in recall; `None` as above."""


@dataclass(frozen=True)
class Average:
    """The numbers of the classes in one of the three ways to average them."""

    precision: float
    recall: float
    specificity: float
    f1: float


@dataclass(frozen=True)
class Evaluation:
    """What a classifier did on images that it was not trained on."""

    labels: tuple[str, ...]
    """Names of the classes; a class's number is its position."""
    samples: int
    """Images looked at."""
    accuracy: float
    """Share of images whose most probable class is the true one."""
    balanced_accuracy: float
    """Mean recall of the classes that have images."""
    matthews_correlation: float
    """Correlation of truth and answer, -1 to 1; 0 is chance, however unequal the classes are."""
    cross_entropy: float
    """Mean over the images of `-ln p(true class)`."""
    roc_auc: float | None
    """Mean of the classes' one-vs-rest values."""
    average_precision: float | None
    """Mean of the classes' values."""
    calibration_error: float
    """Expected calibration error of the most probable class."""
    averages: Mapping[str, Average]
    """`macro`: mean of the classes seen or answered; `weighted`: by their images; `micro`: of all answers together,
    which is the accuracy where every image has one class."""
    per_class: Mapping[str, ClassMetrics]
    """By label, in the order of the labels."""
    reliability: tuple[Bin, ...]
    """Accuracy by confidence."""
    confusion_matrix: tuple[tuple[int, ...], ...]
    """Counts of images: rows are true classes, columns are answers."""

    @property
    def worst(self) -> tuple[str, ClassMetrics]:
        """The label with the lowest F1 among the classes that were looked at, and its numbers."""
        seen = {label: metrics for label, metrics in self.per_class.items() if metrics.support}
        return min(seen.items(), key=lambda item: item[1].f1)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for JSON."""
        return asdict(self)


def evaluate(targets: ArrayLike, probabilities: ArrayLike, *, labels: Sequence[str]) -> Evaluation:
    """Compare true classes of shape (N,) with probabilities of shape (N, C), C being the number of labels.

    Classes are numbers, the positions of their labels. Where only the answers are known, `numpy.eye(C)[answers]` stands
    for probabilities; cross-entropy, ROC AUC, average precision and calibration then say nothing.

    Raises:
        TorchfinchError: the shapes disagree, there are no images, a target is no class, or a row no probabilities.
    """
    truth, rows = _checked(np.asarray(targets), np.asarray(probabilities, dtype=np.float64), classes=len(labels))
    answers = rows.argmax(axis=1)
    counts = confusion_matrix(truth, answers, labels=np.arange(len(labels)))
    per_class = dict(zip(labels, _by_class(truth, rows, counts), strict=True))
    bins = reliability(rows.max(axis=1), answers == truth)
    return Evaluation(
        labels=tuple(labels),
        samples=len(truth),
        accuracy=float(accuracy_score(truth, answers)),
        balanced_accuracy=float(np.mean([each.recall for each in per_class.values() if each.support])),
        matthews_correlation=matthews_correlation(truth, answers),
        cross_entropy=float(log_loss(truth, rows, labels=np.arange(len(labels)))),
        roc_auc=_mean([each.roc_auc for each in per_class.values()]),
        average_precision=_mean([each.average_precision for each in per_class.values()]),
        calibration_error=expected_calibration_error(bins),
        averages={kind: _average(truth, answers, counts, kind) for kind in ("macro", "micro", "weighted")},
        per_class=per_class,
        reliability=bins,
        confusion_matrix=tuple(map(tuple, counts.tolist())),
    )


def matthews_correlation(truth: NDArray[Any], answers: NDArray[Any]) -> float:
    """Scikit-learn's coefficient; 0 where truth and answers hold a single class, of which it would warn."""
    return float(matthews_corrcoef(truth, answers)) if len(np.union1d(truth, answers)) > 1 else 0.0


def _checked(truth: NDArray[Any], rows: NDArray[Any], *, classes: int) -> tuple[NDArray[Any], NDArray[Any]]:
    if rows.ndim == 1 and len(rows) == len(truth) > 0:
        raise TorchfinchError(
            f"probabilities of shape {rows.shape} are one number for each target",
            f"give a row of {classes} probabilities for each; of answers alone, numpy.eye({classes})[answers]",
        )
    if not len(truth) or rows.shape != (len(truth), classes):
        raise TorchfinchError(
            f"{len(truth)} targets and {classes} labels do not fit probabilities of shape {rows.shape}",
            "give a row for each target and a column for each label",
        )
    known = np.isin(truth, np.arange(classes))
    if not known.all():
        raise TorchfinchError(
            f"the target {truth[~known][0]} is no class", f"{classes} labels allow 0 to {classes - 1}"
        )
    sums = rows.sum(axis=1)
    wrong = ~(np.isfinite(rows).all(axis=1) & (rows >= 0).all(axis=1) & np.isclose(sums, 1, atol=1e-3))
    if wrong.any():
        place = int(wrong.argmax())
        shown = ", ".join(f"{value:g}" for value in rows[place, :5])
        raise TorchfinchError(
            f"row {place} is no probabilities: {shown}", "give softmax rows, not scores; look for NaN"
        )
    return truth, rows / sums[:, None]  # float32 softmax sums to 1 within 1e-6; log_loss wants float64's precision


def _by_class(truth: NDArray[Any], rows: NDArray[Any], counts: NDArray[Any]) -> list[ClassMetrics]:
    right, support, answered = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    numbers = zip(
        _ratio(right, answered),
        _ratio(right, support),
        _specificities(counts),
        _ratio(2 * right, answered + support),
        support.tolist(),
        strict=True,
    )
    return [ClassMetrics(*each, *_ranked(truth == number, rows[:, number])) for number, each in enumerate(numbers)]


def _specificities(counts: NDArray[Any]) -> list[float]:
    others = counts.sum() - counts.sum(axis=1)
    return _ratio(others - (counts.sum(axis=0) - counts.diagonal()), others)


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> list[float]:
    quotient: list[float] = np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0).tolist()
    return quotient


def _ranked(members: NDArray[Any], probabilities: NDArray[Any]) -> tuple[float | None, float | None]:
    if members.all() or not members.any():
        return None, None
    return float(roc_auc_score(members, probabilities)), float(average_precision_score(members, probabilities))


def _average(truth: NDArray[Any], answers: NDArray[Any], counts: NDArray[Any], kind: str) -> Average:
    precision, recall, f1, _ = precision_recall_fscore_support(truth, answers, average=kind, zero_division=0)
    return Average(float(precision), float(recall), _specificity(counts, kind), float(f1))


def _specificity(counts: NDArray[Any], kind: str) -> float:
    """Of the classes seen or answered, as scikit-learn averages the others; micro weighs by images of other classes."""
    support = counts.sum(axis=1)
    known = support + counts.sum(axis=0) > 0
    weights = {"macro": known, "weighted": support, "micro": known * (counts.sum() - support)}[kind]
    return float(_specificities(counts) @ weights / max(weights.sum(), 1))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
