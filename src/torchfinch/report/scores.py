"""The part of the report on `evaluation.json`: how good a model is, by class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torchfinch.report.charts import Axis, Chart, Series, draw
from torchfinch.report.words import area, number, percent, score

MOST_CLASSES = 20
"""A larger confusion matrix cannot be read; the classes and the pairs that go worst can."""
PAIRS_SHOWN = 5
SHARES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "calibration_error": "expected calibration error",
}
AREAS = {"roc_auc": "ROC AUC, one against the others", "average_precision": "average precision"}
VALUES = {
    "matthews_correlation": "Matthews correlation",
    "cross_entropy": "cross-entropy",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "r2": "R²",
    "huber": "Huber loss",
}
UNIT = Axis(low=0, high=1, ticks=(0, 0.25, 0.5, 0.75, 1))
"""From 0 to 1, for shares."""


@dataclass(frozen=True)
class Cell:
    """A count of the confusion matrix; `share` of its true class, between 0 and 1."""

    count: int
    share: float
    right: bool


@dataclass(frozen=True)
class Confusion:
    """Images of class `truth` that were taken for `answer`."""

    truth: str
    answer: str
    count: int


@dataclass(frozen=True)
class Scores:
    """An evaluation in words; `matrix` is empty and `classes` are the worst where there are too many.

    Of a regression there are only the numbers.
    """

    samples: int
    numbers: tuple[tuple[str, str], ...]
    labels: tuple[str, ...] = ()
    matrix: tuple[tuple[Cell, ...], ...] = ()
    classes: tuple[tuple[str, ...], ...] = ()
    classes_left_out: int = 0
    confusions: tuple[Confusion, ...] = ()
    charts: tuple[Chart, ...] = ()


def describe_scores(evaluation: Mapping[str, Any]) -> Scores:
    """Put what training wrote in words; raises what a malformed mapping leads to."""
    samples, numbers = int(evaluation["samples"]), _numbers(evaluation)
    if "mae" in evaluation:
        return Scores(samples, numbers)
    labels = tuple(map(str, evaluation["labels"]))
    counts, per_class = evaluation["confusion_matrix"], evaluation["per_class"]
    shown = _shown(per_class, labels)
    reliability = _reliability(evaluation.get("reliability", ()))
    return Scores(
        samples,
        numbers,
        labels,
        matrix=_matrix(counts) if len(labels) <= MOST_CLASSES else (),
        classes=tuple(_row(label, per_class[label]) for label in shown),
        classes_left_out=len(labels) - len(shown),
        confusions=_worst_pairs(counts, labels),
        charts=(reliability,) if reliability else (),
    )


def _numbers(evaluation: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    averages = {f"F1, {kind}": float(each["f1"]) for kind, each in evaluation.get("averages", {}).items()}
    shares = {name: evaluation[key] for key, name in SHARES.items() if evaluation.get(key) is not None} | averages
    areas = {name: evaluation[key] for key, name in AREAS.items() if evaluation.get(key) is not None}
    values = {name: evaluation[key] for key, name in VALUES.items() if evaluation.get(key) is not None}
    return (
        *((name, score(float(value))) for name, value in shares.items()),
        *((name, area(float(value))) for name, value in areas.items()),
        *((name, number(float(value))) for name, value in values.items()),
    )


def _reliability(bins: Sequence[Mapping[str, Any]]) -> Chart | None:
    points = [(float(each["confidence"]), float(each["accuracy"])) for each in bins]
    calibrated = Series("calibrated", [(0, 0), (1, 1)] if points else [], tone="quiet", dashed=True)
    return draw(
        "Reliability",
        [calibrated, Series("this model", points, tone="accent")],
        unit="share of right answers",
        x=UNIT,
        x_name="confidence",
        y_text=percent,
        y_top=1,
    )


def _shown(per_class: Mapping[str, Any], labels: Sequence[str]) -> list[str]:
    """All classes in their own order, or the worst ones that were looked at."""
    if len(labels) <= MOST_CLASSES:
        return list(labels)
    seen = [label for label in labels if per_class[label]["support"]]
    return sorted(seen, key=lambda label: float(per_class[label]["f1"]))[:MOST_CLASSES]


def _row(label: str, metrics: Mapping[str, Any]) -> tuple[str, ...]:
    known = (metrics.get(key) for key in ("precision", "recall", "specificity", "f1"))
    ratios = ("" if value is None else score(float(value)) for value in known)
    auc = metrics.get("roc_auc")  # none of a class without images
    return (label, *ratios, "" if auc is None else area(float(auc)), f"{int(metrics['support']):,}")


def _matrix(counts: Sequence[Sequence[int]]) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        tuple(Cell(count, count / max(sum(row), 1), right=answer == truth) for answer, count in enumerate(row))
        for truth, row in enumerate(counts)
    )


def _worst_pairs(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> tuple[Confusion, ...]:
    pairs = [
        Confusion(labels[truth], labels[answer], count)
        for truth, row in enumerate(counts)
        for answer, count in enumerate(row)
        if count and truth != answer
    ]
    return tuple(sorted(pairs, key=lambda pair: -pair.count)[:PAIRS_SHOWN])
