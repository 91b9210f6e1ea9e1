"""The part of the report on one run folder: how training went and how good the model is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchfinch.errors import TorchfinchError
from torchfinch.report.charts import Chart, Series, axis, draw
from torchfinch.report.words import number, percent, plural, score

MOST_CLASSES = 20
"""A larger confusion matrix cannot be read; the classes and the pairs that go worst can."""
EPOCH_COLUMNS = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy", "learning_rate", "seconds")


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
    share: float


@dataclass(frozen=True)
class Run:
    """A run folder, read; what it lacks is named in `missing` with the way to make it."""

    name: str
    accuracy: float | None
    samples: int
    labels: tuple[str, ...]
    charts: tuple[Chart, ...]
    epochs: tuple[tuple[str, ...], ...]
    matrix: tuple[tuple[Cell, ...], ...]
    classes: tuple[tuple[str, ...], ...]
    classes_left_out: int
    confusions: tuple[Confusion, ...]
    lineage: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]

    @property
    def headline(self) -> str:
        """The accuracy in a few letters; empty where nobody measured it."""
        return score(self.accuracy) if self.accuracy is not None else ""


def read_run(folder: Path) -> Run:
    """Read what training left in `folder`.

    Raises:
        TorchfinchError: it is no run folder, or a file in it cannot be read.
    """
    described = _json(folder / "model.json")
    if described is None:
        raise TorchfinchError(f"{folder} is no run folder: it has no model.json", "torchfinch train NAME makes one")
    history, evaluation = _lines(folder / "history.jsonl"), _json(folder / "evaluation.json") or {}
    lineage = described.get("lineage") or {}
    labels = tuple(map(str, evaluation.get("labels") or described.get("labels") or ()))
    matrix = evaluation.get("confusion_matrix") or []
    accuracy = evaluation.get("accuracy", (lineage.get("metrics") or {}).get("test_accuracy"))
    missing = []
    if not history:
        missing.append("No training curves: history.jsonl is written by recipes that fit a network to data")
    if not evaluation:
        missing.append("No confusion matrix: evaluation.json is written by recipes that have test images")
    classes = sorted((evaluation.get("per_class") or {}).items(), key=lambda item: _f1(item[1]))
    return Run(
        name=folder.resolve().name,
        accuracy=None if accuracy is None else float(accuracy),
        samples=int(evaluation.get("samples", 0)),
        labels=labels,
        charts=_curves(history),
        epochs=tuple((str(epoch["epoch"]), *(_cell(epoch.get(key)) for key in EPOCH_COLUMNS)) for epoch in history),
        matrix=_matrix(matrix) if len(labels) <= MOST_CLASSES else (),
        classes=tuple(_class(name, metrics) for name, metrics in _kept(classes, labels)),
        classes_left_out=max(len(classes) - MOST_CLASSES, 0),
        confusions=_worst_pairs(matrix, labels),
        lineage=tuple(_flat(_identity(described, lineage))),
        missing=tuple(missing),
    )


def _curves(history: Sequence[Mapping[str, Any]]) -> tuple[Chart, ...]:
    epochs = axis([float(epoch["epoch"]) for epoch in history], whole=True)

    def lines(kind: str) -> list[Series]:
        names = {"training": f"train_{kind}", "validation": f"validation_{kind}"}
        return [
            Series(
                name,
                [(float(epoch["epoch"]), float(epoch[key])) for epoch in history if epoch.get(key) is not None],
                tone=tone,
            )
            for (name, key), tone in zip(names.items(), ("quiet", "accent"), strict=True)
        ]

    loss = draw("Loss", lines("loss"), unit="cross-entropy", x=epochs, x_name="epoch")
    accuracy = draw(
        "Accuracy",
        lines("accuracy"),
        unit="share of images",
        x=epochs,
        x_name="epoch",
        y_from_zero=False,
        y_text=percent,
    )
    return tuple(chart for chart in (loss, accuracy) if chart)


def _matrix(counts: Sequence[Sequence[int]]) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        tuple(Cell(count, count / max(sum(row), 1), right=column == number) for column, count in enumerate(row))
        for number, row in enumerate(counts)
    )


def _worst_pairs(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> tuple[Confusion, ...]:
    pairs = [
        Confusion(labels[truth], labels[answer], count, count / sum(row))
        for truth, row in enumerate(counts)
        for answer, count in enumerate(row)
        if count and truth != answer
    ]
    return tuple(sorted(pairs, key=lambda pair: -pair.count)[:5])


def _kept(classes: Sequence[tuple[str, Any]], labels: Sequence[str]) -> list[tuple[str, Any]]:
    """All classes in their own order, or the worst ones where there are too many."""
    if len(classes) > MOST_CLASSES:
        return [item for item in classes if item[1].get("support", 1)][:MOST_CLASSES]
    order = {label: place for place, label in enumerate(labels)}
    return sorted(classes, key=lambda item: order.get(item[0], len(order)))


def _class(name: str, metrics: Mapping[str, Any]) -> tuple[str, ...]:
    return (name, *(score(float(metrics[key])) for key in ("precision", "recall", "f1")), str(metrics["support"]))


def _f1(metrics: Mapping[str, Any]) -> float:
    return float(metrics.get("f1", 0.0))


def _identity(described: Mapping[str, Any], lineage: Mapping[str, Any]) -> dict[str, Any]:
    network = described.get("network") or {}
    about = {"network": network.get("class"), "arguments": network.get("arguments")}
    about |= {"classes": plural(len(described.get("labels") or ()), "label")}
    return about | {"preprocessing": described.get("preprocessing")} | dict(lineage)


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings as rows: `config epochs` beside its value; what is empty is left out."""
    rows: list[tuple[str, str]] = []
    for key, item in value.items():
        name = f"{prefix} {key}".strip().replace("_", " ")
        if isinstance(item, Mapping):
            rows += _flat(item, name)
        elif item not in (None, "", []):
            rows.append((name, _text(item)))
    return rows


def _text(item: Any) -> str:
    if isinstance(item, list):
        return ", ".join(map(_text, item))
    return number(item) if isinstance(item, float) else str(item)


def _cell(value: Any) -> str:
    return "" if value is None else number(float(value))


def _json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TorchfinchError(f"{path} is no JSON: {error}", "train again") from error
    if not isinstance(content, dict):
        raise TorchfinchError(f"{path} holds no JSON object", "train again")
    return content


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.strip()]
    except ValueError as error:
        raise TorchfinchError(f"{path} is no JSON line by line: {error}", "train again") from error
