"""The part of the report on `evaluation.json`: how good a model is, by class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torchfinch.report.words import score

MOST_CLASSES = 20
"""A larger confusion matrix cannot be read; the classes and the pairs that go worst can."""
PAIRS_SHOWN = 5


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
    """An evaluation in words; `matrix` is empty and `classes` are the worst where there are too many."""

    labels: tuple[str, ...]
    samples: int
    matrix: tuple[tuple[Cell, ...], ...]
    classes: tuple[tuple[str, ...], ...]
    classes_left_out: int
    confusions: tuple[Confusion, ...]


def describe_scores(evaluation: Mapping[str, Any]) -> Scores:
    """Put what training wrote in words; raises what a malformed mapping leads to."""
    labels = tuple(map(str, evaluation["labels"]))
    counts, per_class = evaluation["confusion_matrix"], evaluation["per_class"]
    shown = _shown(per_class, labels)
    return Scores(
        labels=labels,
        samples=int(evaluation["samples"]),
        matrix=_matrix(counts) if len(labels) <= MOST_CLASSES else (),
        classes=tuple(_row(label, per_class[label]) for label in shown),
        classes_left_out=len(labels) - len(shown),
        confusions=_worst_pairs(counts, labels),
    )


def _shown(per_class: Mapping[str, Any], labels: Sequence[str]) -> list[str]:
    """All classes in their own order, or the worst ones that were looked at."""
    if len(labels) <= MOST_CLASSES:
        return list(labels)
    seen = [label for label in labels if per_class[label]["support"]]
    return sorted(seen, key=lambda label: float(per_class[label]["f1"]))[:MOST_CLASSES]


def _row(label: str, metrics: Mapping[str, Any]) -> tuple[str, ...]:
    ratios = (score(float(metrics[key])) for key in ("precision", "recall", "f1"))
    return (label, *ratios, f"{int(metrics['support']):,}")


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
