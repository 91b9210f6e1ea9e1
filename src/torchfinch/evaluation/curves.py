"""ROC and precision-recall curves of a classifier, one class against the others, as few points as show them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from torchfinch.evaluation.metrics import Evaluation

Point = tuple[float, float]
_POINTS = 120


@dataclass(frozen=True)
class Curve:
    """One class against the others, or all pooled: every image counted once for each class."""

    name: str
    area: float
    """Area under the ROC curve, or average precision."""
    points: tuple[Point, ...]
    """(false positive rate, true positive rate), or (recall, precision); both axes run from 0 to 1."""


def told_apart_worst(evaluation: Evaluation) -> list[int]:
    """The classes by the area under their ROC curve, the least first; none without images, or without others."""
    areas = enumerate(metrics.roc_auc for metrics in evaluation.per_class.values())
    return [place for _, place in sorted((area, place) for place, area in areas if area is not None)]


def roc_curves(
    targets: NDArray[np.int64], rows: NDArray[np.float32], *, labels: Sequence[str], classes: Sequence[int]
) -> tuple[Curve, ...]:
    """True against false positive rate: of the pooled classes where there are more than two, then of `classes`.

    Between two points the curve is straight, as its area has it: images of equal scores are found together.
    """
    return tuple(
        Curve(name, float(roc_auc_score(members, scores)), _roc(*roc_curve(members, scores)[:2]))
        for name, members, scores in _one_vs_rest(targets, rows, labels, classes)
    )


def precision_recall_curves(
    targets: NDArray[np.int64], rows: NDArray[np.float32], *, labels: Sequence[str], classes: Sequence[int]
) -> tuple[Curve, ...]:
    """Precision against recall, of the same classes as `roc_curves`."""
    curves = []
    for name, members, scores in _one_vs_rest(targets, rows, labels, classes):
        precision, recall, _ = precision_recall_curve(members, scores)
        area = float(average_precision_score(members, scores))
        curves.append(Curve(name, area, _precision_recall(recall[::-1], precision[::-1])))
    return tuple(curves)


def _one_vs_rest(
    targets: NDArray[np.int64], rows: NDArray[np.float32], labels: Sequence[str], classes: Sequence[int]
) -> list[tuple[str, NDArray[np.bool_], NDArray[np.float32]]]:
    pooled = [("all classes", (targets[:, None] == np.arange(len(labels))).ravel(), rows.ravel())]
    return pooled * (len(labels) > 2) + [(labels[each], targets == each, rows[:, each]) for each in classes]


def _roc(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[Point, ...]:
    return _thinned(x, y, along=x + y)


def _precision_recall(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[Point, ...]:
    _, *points = _thinned(x, y, along=x)
    return ((0.0, points[0][1]), *points)  # scikit-learn's first precision is 1, whatever comes


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64], *, along: NDArray[np.float64]) -> tuple[Point, ...]:
    """The first point at each of evenly spaced places along the curve; `along` does not fall."""
    kept = np.unique(np.searchsorted(along, np.linspace(along[0], along[-1], _POINTS)))
    return tuple(zip(x[kept].tolist(), y[kept].tolist(), strict=True))
