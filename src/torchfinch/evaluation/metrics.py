"""Accuracy, cross-entropy, confusion matrix, and precision, recall and F1 by class."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support


@dataclass(frozen=True)
class ClassMetrics:
    """One class against all others; a ratio with nothing below the line is 0."""

    precision: float
    """TP / (TP + FP): how many of the answers with this label are right."""
    recall: float
    """TP / (TP + FN): how many images of this class are found."""
    f1: float
    """Harmonic mean of precision and recall."""
    support: int
    """Images of this class."""


@dataclass(frozen=True)
class Evaluation:
    """What a classifier did on images that it was not trained on."""

    labels: tuple[str, ...]
    """Names of the classes; a class's number is its position."""
    samples: int
    """Images looked at."""
    accuracy: float
    """Share of images whose most probable class is the true one."""
    cross_entropy: float
    """Mean over the images of `-ln p(true class)`."""
    confusion_matrix: tuple[tuple[int, ...], ...]
    """Counts of images: rows are true classes, columns are answers."""
    per_class: Mapping[str, ClassMetrics]
    """By label, in the order of the labels."""

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

    Raises:
        ValueError: the shapes disagree, there are no images, or a target is no class.
    """
    truth, rows = np.asarray(targets), np.asarray(probabilities, dtype=np.float64)
    classes = np.arange(len(labels))
    if not len(truth) or rows.shape != (len(truth), len(labels)):
        raise ValueError(f"{len(truth)} targets and {len(labels)} labels do not fit probabilities of {rows.shape}")
    if not np.isin(truth, classes).all():
        raise ValueError(f"targets run from {truth.min()} to {truth.max()}; {len(labels)} labels allow 0 and up")
    answers = rows.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(truth, answers, labels=classes, zero_division=0)
    columns = zip(precision.tolist(), recall.tolist(), f1.tolist(), support.tolist(), strict=True)
    return Evaluation(
        labels=tuple(labels),
        samples=len(truth),
        accuracy=float(accuracy_score(truth, answers)),
        cross_entropy=float(log_loss(truth, _normalised(rows), labels=classes)),
        confusion_matrix=tuple(map(tuple, confusion_matrix(truth, answers, labels=classes).tolist())),
        per_class={label: ClassMetrics(*row) for label, row in zip(labels, columns, strict=True)},
    )


def _normalised(rows: np.ndarray) -> np.ndarray:
    # float32 softmax rows sum to 1 within 1e-6; log_loss wants float64's precision.
    normalised: np.ndarray = rows / rows.sum(axis=1, keepdims=True)
    return normalised
