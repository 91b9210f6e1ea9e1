"""One page on one evaluation: the numbers, the curves, and the worst mistakes as images."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchfinch.evaluation import Evaluation, RegressionEvaluation
from torchfinch.evaluation.curves import Curve, precision_recall_curves, roc_curves, told_apart_worst
from torchfinch.files import write_whole
from torchfinch.report.charts import Chart, Series, axis, draw
from torchfinch.report.environment import describe_environment
from torchfinch.report.pictures import Picture, embed
from torchfinch.report.render import render_page
from torchfinch.report.scores import UNIT, describe_scores
from torchfinch.report.words import area, day, number, percent

MISTAKES_SHOWN = 12
CURVES_SHOWN = 3
MOST_POINTS = 500
TONES = ("accent", "bad", "canary", "good")
ORDERS = {
    Evaluation: "Wrong answers, from the lowest probability of the true class upwards.",
    RegressionEvaluation: "Predictions, from the farthest from the truth downwards.",
}

Mistakes = list[tuple[int, str]]
"""Place among the images, and what is wrong with the answer."""


def write_evaluation(
    output: Path,
    evaluation: Evaluation | RegressionEvaluation,
    *,
    pixels: NDArray[np.uint8],
    targets: NDArray[Any],
    rows: NDArray[np.float32],
    title: str,
    source: str,
    now: datetime,
    names: Sequence[str] = (),
) -> None:
    """Write one HTML file to `output`, whole or not at all.

    `pixels` of shape (N, C, H, W) were answered by `rows`: probabilities (N, classes), or numbers (N, K). `source` says
    where the images come from, `names` what each is called, where they have names.
    """
    scores = describe_scores(evaluation.to_dict())
    if isinstance(evaluation, Evaluation):
        scores = replace(scores, charts=(*_curves(evaluation, targets, rows), *scores.charts))
        mistakes = _wrong(targets, rows, evaluation.labels)
    else:
        scores = replace(scores, charts=_clouds(targets, rows))
        mistakes = _far(targets, rows)
    page = render_page(
        "evaluation.html",
        title=title,
        source=source,
        scores=scores,
        order=ORDERS[type(evaluation)],
        mistakes=[(names[place] if names else "", _picture(pixels[place], words)) for place, words in mistakes],
        made=day(now.timestamp()),
        environment=describe_environment(),
    )
    write_whole(output, page)


def _curves(evaluation: Evaluation, targets: NDArray[Any], rows: NDArray[np.float32]) -> list[Chart]:
    """Of the classes that are told apart worst; of the second one where there are two."""
    ranked = told_apart_worst(evaluation)
    classes = ranked[:CURVES_SHOWN] if len(evaluation.labels) > 2 else sorted(ranked)[-1:]
    if not classes:
        return []
    roc = roc_curves(targets, rows, labels=evaluation.labels, classes=classes)
    precision_recall = precision_recall_curves(targets, rows, labels=evaluation.labels, classes=classes)
    chance = Series("chance", [(0, 0), (1, 1)], tone="quiet", dashed=True)
    charts = (
        _chart("ROC", [chance, *_series(roc, "AUC")], x="false positive rate", y="true positive rate"),
        _chart("Precision and recall", _series(precision_recall, "AP"), x="recall", y="precision"),
    )
    return [chart for chart in charts if chart]


def _series(curves: Sequence[Curve], kind: str) -> list[Series]:
    return [
        Series(f"{curve.name}: {kind} {area(curve.area)}", curve.points, tone=tone)
        for curve, tone in zip(curves, TONES, strict=False)
    ]


def _chart(title: str, series: Sequence[Series], *, x: str, y: str) -> Chart | None:
    return draw(title, series, unit=y, x=UNIT, x_name=x, y_text=percent, y_top=1)


def _wrong(targets: NDArray[Any], rows: NDArray[np.float32], labels: Sequence[str]) -> Mistakes:
    """The wrong answers that gave the true class the lowest probabilities."""
    answers, true = rows.argmax(axis=1), rows[np.arange(len(rows)), targets]
    places = [int(place) for place in np.argsort(true, kind="stable") if answers[place] != targets[place]]
    return [
        (place, _taken(labels[targets[place]], true[place], labels[answers[place]], rows[place].max()))
        for place in places[:MISTAKES_SHOWN]
    ]


def _taken(truth: str, small: float, answer: str, large: float) -> str:
    return f"{truth}, taken for {answer}: {truth} {percent(small)}, {answer} {percent(large)}"


def _far(targets: NDArray[Any], rows: NDArray[np.float32]) -> Mistakes:
    """The predictions that lie farthest from the truth."""
    truth, answers = targets.reshape(len(rows), -1), rows.reshape(len(rows), -1)
    places = np.abs(truth - answers).sum(axis=1).argsort(kind="stable")[::-1][:MISTAKES_SHOWN]
    return [(int(place), f"{_numbers(truth[place])}, predicted {_numbers(answers[place])}") for place in places]


def _clouds(targets: NDArray[Any], rows: NDArray[np.float32]) -> tuple[Chart, ...]:
    """Prediction over truth, for each number that is predicted; of many images, as many as can be told apart."""
    every = -(-len(rows) // MOST_POINTS)
    truth, answers = (values.reshape(len(rows), -1)[::every].T.tolist() for values in (targets, rows))
    charts = (_cloud(place, *pair, count=len(truth)) for place, pair in enumerate(zip(truth, answers, strict=True), 1))
    return tuple(chart for chart in charts if chart)


def _cloud(place: int, truth: list[float], answers: list[float], *, count: int) -> Chart | None:
    ends = (min(truth), max(truth))
    right = Series("right", [(end, end) for end in ends], tone="quiet", dashed=True)
    predicted = Series("predicted", list(zip(truth, answers, strict=True)), tone="accent", cloud=True)
    title = "Predictions" if count == 1 else f"Predictions, number {place}"
    return draw(title, [right, predicted], unit="over the truth", x=axis(ends), x_name="true", y_from_zero=False)


def _numbers(values: NDArray[np.float32]) -> str:
    return ", ".join(number(float(value)) for value in values)


def _picture(pixels: NDArray[np.uint8], words: str) -> Picture:
    return embed(Image.fromarray(pixels.transpose(1, 2, 0).squeeze()), words)
