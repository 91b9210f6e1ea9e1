"""One page on one evaluation: the numbers, the curves, and the worst mistakes as images."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchfinch.evaluation import Evaluation, RegressionEvaluation
from torchfinch.evaluation.curves import Curve, precision_recall_curves, roc_curves
from torchfinch.files import write_whole
from torchfinch.report.charts import Chart, Series, draw
from torchfinch.report.environment import describe_environment
from torchfinch.report.pictures import Picture, embed
from torchfinch.report.render import render_page
from torchfinch.report.scores import UNIT, describe_scores
from torchfinch.report.words import day, number, percent, plural

MISTAKES_SHOWN = 12
CURVES_SHOWN = 3
TONES = ("accent", "bad", "canary", "good")

Mistakes = list[tuple[int, str]]
"""Place among the images, and what is wrong with the answer."""


def write_evaluation(
    output: Path,
    evaluation: Evaluation | RegressionEvaluation,
    *,
    pixels: NDArray[np.uint8],
    targets: NDArray[np.int64] | NDArray[np.float32],
    rows: NDArray[np.float32],
    title: str,
    source: str,
    now: datetime,
) -> None:
    """Write one HTML file to `output`, whole or not at all.

    `pixels` of shape (N, C, H, W) were answered by `rows`: probabilities (N, classes), or numbers (N, K). `source` says
    where the images come from.
    """
    scores = describe_scores(evaluation.to_dict())
    if isinstance(evaluation, Evaluation):
        scores = replace(scores, charts=(*_curves(evaluation, targets, rows), *scores.charts))
        mistakes = _wrong(targets, rows, evaluation.labels)
    else:
        mistakes = _far(targets, rows)
    page = render_page(
        "evaluation.html",
        title=title,
        source=source,
        scores=scores,
        mistakes=[_picture(pixels[place], words) for place, words in mistakes],
        made=day(now.timestamp()),
        environment=describe_environment(),
    )
    write_whole(output, page)


def _curves(evaluation: Evaluation, targets: NDArray[np.int64], rows: NDArray[np.float32]) -> list[Chart]:
    areas = [metrics.roc_auc for metrics in evaluation.per_class.values()]
    ranked = sorted((area, place) for place, area in enumerate(areas) if area is not None)
    classes = [place for _, place in ranked][:CURVES_SHOWN] if len(areas) > 2 else [place for _, place in ranked][-1:]
    roc = roc_curves(targets, rows, labels=evaluation.labels, classes=classes)
    precision_recall = precision_recall_curves(targets, rows, labels=evaluation.labels, classes=classes)
    chance = Series("chance", [(0, 0), (1, 1)], tone="quiet", dashed=True)
    charts = (
        _chart("ROC", [*_series(roc, "AUC"), chart_chance(chance)], x="false positive rate", y="true positive rate"),
        _chart("Precision and recall", _series(precision_recall, "AP"), x="recall", y="precision"),
    )
    return [chart for chart in charts if chart]
