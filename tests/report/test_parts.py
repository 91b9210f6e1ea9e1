"""The parts on their own: axes, many classes, pictures."""

import base64
import io
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from torchfinch.errors import TorchfinchError
from torchfinch.evaluation import evaluate, evaluate_regression
from torchfinch.report import write_evaluation
from torchfinch.report.charts import Axis, Event, Series, axis, clock_axis, draw, round_ticks
from torchfinch.report.pictures import read_picture
from torchfinch.report.scores import describe_scores
from torchfinch.report.training import read_run
from torchfinch.report.words import area, minutes, number, percent, score

from .conftest import make_image, make_run

FINITE = st.floats(-1e9, 1e9, allow_nan=False).map(lambda value: round(value, 4))


@given(FINITE, FINITE)
def test_ticks_hold_the_values_between_them_and_are_few(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    ticks = round_ticks(low, high)
    assert 2 <= len(ticks) <= 8
    assert list(ticks) == sorted(set(ticks))
    slack = (ticks[-1] - ticks[0]) * 1e-6
    assert ticks[0] - slack <= low
    assert high <= ticks[-1] + slack


@given(st.integers(0, 10**10), st.integers(0, 10**9))
def test_clock_ticks_fit_a_narrow_screen(low: int, length: int) -> None:
    across = clock_axis([low / 1000, (low + length) / 1000], text=minutes)
    assert len(across.ticks) <= 6
    assert all(across.low <= tick <= across.high for tick in across.ticks)


def test_a_chart_of_one_value_can_be_drawn() -> None:
    chart = draw("Loss", [Series("training", [(1.0, 0.5)], tone="accent")], unit="nats", x=axis([1.0]), x_name="epoch")
    assert chart is not None
    assert chart.words == "Loss (nats) by epoch: training from 0.5 to 0.5"


def test_a_chart_of_nothing_is_none() -> None:
    assert draw("Loss", [Series("training", [], tone="accent")], unit="nats", x=axis([]), x_name="epoch") is None


def test_steps_hold_their_value_until_the_next() -> None:
    series = Series("weight", [(0.0, 0.0), (5.0, 50.0), (10.0, 100.0)], tone="canary", step=True)
    chart = draw("Traffic", [series], unit="%", x=Axis(0, 10, (0, 5, 10)), x_name="time", y_top=100)
    assert chart is not None
    assert chart.path(series) == "M0 100H50V50H100V0"
    assert chart.area(series) == "M0 100H50V50H100V0L100 100L0 100Z"


def test_events_close_to_each_other_stand_above_each_other() -> None:
    events = [Event(at, count, "good", "why") for count, at in enumerate((0.0, 50.0, 52.0, 53.0, 60.0), start=1)]
    series = Series("weight", [(0.0, 0.0), (100.0, 1.0)], tone="canary")
    chart = draw("Traffic", [series], unit="%", x=Axis(0, 100, (0, 50)), x_name="time", events=events)
    assert chart is not None
    assert [level for _, level, _ in chart.marks] == [0, 0, 1, 2, 0]


def test_many_classes_are_shown_by_the_worst(tmp_path: Path) -> None:
    labels = [f"class {count}" for count in range(100)]
    scores = read_run(make_run(tmp_path / "many", labels=labels)).scores
    assert scores is not None
    assert scores.matrix == ()
    assert {row[0] for row in scores.classes} >= {f"class {count}" for count in (1, 3, 4, 5, 8, 9)}
    assert scores.classes_left_out == 80
    assert [(pair.truth, pair.answer, pair.count) for pair in scores.confusions[:1]] == [("class 8", "class 1", 2)]


def test_a_class_is_shown_with_specificity_and_auc_where_they_are_known() -> None:
    evaluation = evaluate(
        [0, 0, 1, 1], [[0.9, 0.1, 0], [0.4, 0.6, 0], [0.2, 0.8, 0], [0.1, 0.9, 0]], labels=["a", "b", "c"]
    )

    rows = describe_scores(evaluation.to_dict()).classes
    assert rows[0] == ("a", "100.0 %", "50.0 %", "100.0 %", "66.7 %", "1.0000", "2")
    assert rows[2] == ("c", "0.0 %", "0.0 %", "100.0 %", "0.0 %", "", "0")


def test_a_large_picture_is_made_small_and_a_digit_is_enlarged(tmp_path: Path) -> None:
    large = read_picture((make_image(tmp_path / "large.png", size=(1200, 30)), None))
    assert (large.width, large.caption) == (900, "large")
    small = read_picture((make_image(tmp_path / "a_digit.png", size=(8, 8)), None))
    assert (small.width, small.height, small.caption) == (240, 240, "a digit")
    content = base64.b64decode(small.address.partition(",")[2])
    assert Image.open(io.BytesIO(content)).size == (240, 240)


def test_a_photo_is_shown_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter clockwise
    Image.new("RGB", (400, 300)).save(tmp_path / "photo.jpg", exif=exif)
    shown = read_picture((tmp_path / "photo.jpg", None))

    assert (shown.width, shown.height) == (300, 400)


def test_a_transparent_picture_stays_transparent(tmp_path: Path) -> None:
    Image.new("RGBA", (300, 300), (255, 0, 0, 40)).save(tmp_path / "overlay.png")
    assert read_picture((tmp_path / "overlay.png", "overlay")).address.startswith("data:image/png")


def test_an_image_cut_short_is_said(tmp_path: Path) -> None:
    path = make_image(tmp_path / "heatmap.png")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(TorchfinchError, match="is no image"):
        read_picture((path, None))


def test_numbers_are_written_for_people() -> None:
    assert [number(value) for value in (0.0, 0.25, 1200.0, 123456.0)] == ["0", "0.25", "1200", "123,456"]
    assert [percent(value) for value in (0.0, 0.000576, 0.12345, 1.0)] == ["0 %", "0.0576 %", "12.3 %", "100 %"]
    assert [score(value) for value in (0.0, 0.5, 0.9996, 1.0)] == ["0.0 %", "50.0 %", "99.9 %", "100.0 %"]
    assert [area(value) for value in (0.5, 0.9994, 0.99996, 1.0)] == ["0.5000", "0.9994", "0.9999", "1.0000"]
    assert [minutes(value) for value in (0, 42, 185, 3720, -20)] == ["0:00", "0:42", "3:05", "1:02:00", "-0:20"]


def test_a_cloud_is_points_without_a_line_and_without_words_for_each() -> None:
    points = [(0.0, 1.0), (1.0, 3.0), (2.0, 2.0)]
    chart = draw("", [Series("predicted", points, tone="accent", cloud=True)], unit="", x=axis([0, 2]), x_name="true")

    assert chart is not None
    assert chart.path(chart.series[0]).count("M") == chart.path(chart.series[0]).count("h0") == 3
    assert chart.dots(chart.series[0]) == []


def test_a_page_on_a_regression_shows_predictions_over_the_truth_and_the_farthest(tmp_path: Path) -> None:
    truth = np.linspace(-1, 1, 40, dtype=np.float32)
    rows = truth + np.where(np.arange(40) == 7, 5, 0).astype(np.float32)
    write_evaluation(
        tmp_path / "page.html",
        evaluate_regression(truth, rows),
        pixels=np.zeros((40, 1, 4, 4), dtype=np.uint8),
        targets=truth,
        rows=rows[:, None],
        title="angles",
        source="40 images",
        now=datetime.now(UTC),
    )
    page = (tmp_path / "page.html").read_text()

    captions = re.findall(r"<figcaption>([^<]*predicted[^<]*)<", page)
    assert "cloud" in page.split("<figure")[1]
    assert captions[0] == "-0.641, predicted 4.359"
