"""ROC and precision-recall curves of a classifier, one class against the others, as few points as show them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

_POINTS = 120


@dataclass(frozen=True)
class Curve:
    """One class against the others, or all pooled: every image counted once for each class."""

    name: str
    area: float
    """Area under the ROC curve, or average precision."""
    points: tuple[tuple[float, float], ...]
    """(false positive rate, true positive rate), or (recall, precision); both axes run from 0 to 1."""


def roc_curves(
    targets: NDArray[np.int64], rows: NDArray[np.float32], *, labels: Sequence[str], classes: Sequence[int]
) -> tuple[Curve, ...]:
    """True against false positive rate: of the pooled classes where there are more than two, then of `classes`."""
    return tuple(
        Curve(name, float(roc_auc_score(members, scores)), _thinned(*roc_curve(members, scores)[:2]))
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
        curves.append(Curve(name, area, _thinned(recall[::-1], precision[::-1])))
    return tuple(curves)


def _one_vs_rest(
    targets: NDArray[np.int64], rows: NDArray[np.float32], labels: Sequence[str], classes: Sequence[int]
) -> list[tuple[str, NDArray[np.bool_], NDArray[np.float32]]]:
    pooled = [("all classes", (targets[:, None] == np.arange(len(labels))).ravel(), rows.ravel())]
    return pooled * (len(labels) > 2) + [(labels[each], targets == each, rows[:, each]) for each in classes]


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    kept = np.unique(np.linspace(0, len(x) - 1, _POINTS).round().astype(int))
    return tuple(zip(x[kept].tolist(), y[kept].tolist(), strict=True))
