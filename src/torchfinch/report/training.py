"""The part of the report on one run folder: how training went, how good the model is, and where it comes from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchfinch.errors import TorchfinchError
from torchfinch.report.charts import Chart, Series, axis, draw
from torchfinch.report.reading import reading
from torchfinch.report.scores import Scores, describe_scores
from torchfinch.report.words import number, percent, score

EPOCH_COLUMNS = (
    *("train_loss", "validation_loss", "train_accuracy", "validation_accuracy"),
    *("learning_rate", "seconds", "data_seconds"),
)
_WORST = 3
Row = tuple[str, str]
AGAIN = "torchfinch train NAME writes it anew"


@dataclass(frozen=True)
class Run:
    """A run folder, read; without curves where nothing was fitted, without scores where nothing was evaluated."""

    name: str
    accuracy: float | None
    lineage: tuple[Row, ...]
    settings: tuple[Row, ...]
    charts: tuple[Chart, ...]
    epochs: tuple[tuple[str, ...], ...]
    worst: str
    """The classes of which the last epoch knew the fewest validation images; empty where nobody counted."""
    scores: Scores | None

    @property
    def headline(self) -> str:
        """The accuracy in a few letters; empty where nobody measured it."""
        return "" if self.accuracy is None else score(self.accuracy)


def read_run(folder: Path) -> Run:
    """Read what training left in `folder`.

    Raises:
        TorchfinchError: it is no run folder, or a file in it cannot be read.
    """
    described, history, evaluation = (folder / name for name in ("model.json", "history.jsonl", "evaluation.json"))
    if not described.is_file():
        raise TorchfinchError(f"{folder} is no run folder: it has no model.json", "torchfinch train NAME makes one")
    with reading(described, what="description of a model", hint=AGAIN):
        model = json.loads(described.read_text(encoding="utf-8"))
        accuracy = (model.get("lineage", {}).get("metrics") or {}).get("test_accuracy")
        lineage, settings = tuple(_identity(model)), tuple(_flat(_settings(model)))
    with reading(history, what="history of a training", hint=AGAIN):
        lines = history.read_text(encoding="utf-8").splitlines() if history.exists() else []
        epochs = [json.loads(line) for line in lines]
        charts, rows = _curves(epochs, loss=_loss(model)), tuple(map(_row, epochs))
        worst = _worst(model.get("labels") or [], epochs[-1].get("class_accuracy") or []) if epochs else ""
    with reading(evaluation, what="evaluation", hint=AGAIN):
        scores = describe_scores(json.loads(evaluation.read_text(encoding="utf-8"))) if evaluation.exists() else None
    name = folder.resolve().name
    return Run(name, accuracy, lineage, settings, charts=charts, epochs=rows, worst=worst, scores=scores)


def _loss(model: Mapping[str, Any]) -> str:
    """The name of the loss, as the settings have it."""
    return str(_settings(model).get("loss", {}).get("name", "cross_entropy")).replace("_", "-")


def _curves(epochs: Sequence[Mapping[str, Any]], *, loss: str) -> tuple[Chart, ...]:
    x = axis([float(epoch["epoch"]) for epoch in epochs], whole=True)
    losses, accuracies = (
        [
            _series("training", f"train_{kind}", epochs, tone="quiet"),
            _series("validation", f"validation_{kind}", epochs, tone="accent"),
        ]
        for kind in ("loss", "accuracy")
    )
    charts = (
        draw("Loss", losses, unit=loss, x=x, x_name="epoch"),
        draw("Accuracy", accuracies, unit="share of images", x=x, x_name="epoch", y_from_zero=False, y_text=percent),
    )
    return tuple(chart for chart in charts if chart)


def _series(name: str, key: str, epochs: Sequence[Mapping[str, Any]], *, tone: str) -> Series:
    known = [(float(epoch["epoch"]), float(epoch[key])) for epoch in epochs if epoch.get(key) is not None]
    return Series(name, known, tone=tone)


def _row(epoch: Mapping[str, Any]) -> tuple[str, ...]:
    values = (epoch.get(key) for key in EPOCH_COLUMNS)
    return (str(epoch["epoch"]), *("" if value is None else number(float(value)) for value in values))


def _worst(labels: Sequence[str], accuracies: Sequence[float | None]) -> str:
    known = [(share, label) for label, share in zip(labels, accuracies, strict=False) if share is not None]
    return ", ".join(f"{label} {score(share)}" for share, label in sorted(known)[:_WORST])


def _settings(model: Mapping[str, Any]) -> Mapping[str, Any]:
    return (model.get("lineage") or {}).get("config") or {}


def _identity(model: Mapping[str, Any]) -> list[Row]:
    """All that is no setting."""
    network, images = model.get("network") or {}, model.get("preprocessing") or {}
    lineage, told = dict(model.get("lineage") or {}), {"config", *({"seed"} & set(_settings(model)))}
    return [
        *_flat({"network": network.get("class")}),
        *_flat(network.get("arguments") or {}, "network"),
        *_flat({"labels": len(model.get("labels") or ())}),
        *_flat({**images, "size": " x ".join(map(str, images.get("size", ())))}, "image"),
        *_flat(lineage.pop("metrics", None) or {}),
        *_flat({key: value for key, value in lineage.items() if key not in told}),
    ]


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[Row]:
    """Nested mappings as rows: `optimizer name` beside its value; what is empty is left out."""
    rows: list[Row] = []
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
