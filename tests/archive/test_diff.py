"""Two versions side by side: what counts as another answer, and what `torchfinch diff` says of many."""

import json
from pathlib import Path

import pytest
from colours import LABELS, NETWORK, colour_image, write_colour_run
from typer.testing import CliRunner, Result

from torchfinch.archive import pack_run
from torchfinch.archive.diff import Answer, Difference, Pair
from torchfinch.cli import build


def classes(label: str, confidence: float, *, seconds: float = 0.01) -> Answer:
    """A classifier's answer between two classes."""
    other = "b" if label == "a" else "a"
    content = {"label": label, "probabilities": {label: confidence, other: 1 - confidence}}
    return Answer(200, content, seconds)


def numbers(**values: float) -> Answer:
    return Answer(200, {"values": values}, 0.01)


REFUSED = Answer(400, {"message": "no image"}, 0.001)


@pytest.mark.parametrize(
    ("first", "second", "disagree"),
    [
        (classes("a", 0.9), classes("a", 0.6), False),
        (classes("a", 0.51), classes("b", 0.51), True),
        (classes("a", 0.9), REFUSED, True),
        (REFUSED, REFUSED, False),
        (numbers(age=30.0), numbers(age=30.001), False),
        (numbers(age=30.0), numbers(age=31.0), True),
        (numbers(age=30.0), numbers(height=30.0), True),
        (Answer(200, {"cat": 0.9, "dog": 0.1}, 0.01), Answer(200, {"dog": 0.8, "cat": 0.2}, 0.01), True),
        (Answer(200, ["x"], 0.01), Answer(200, ["x"], 0.01), False),
        (Answer(200, ["x"], 0.01), Answer(200, ["y"], 0.01), True),
        (Answer(200, {"probabilities": [1]}, 0.01), Answer(200, {"probabilities": [2]}, 0.01), True),
        (Answer(200, {"values": {"age": "old"}}, 0.01), Answer(200, {"values": {"age": "old"}}, 0.01), False),
    ],
)
def test_what_counts_as_another_answer(first: Answer, second: Answer, disagree: bool) -> None:
    assert Pair("1.png", first, second).disagree is disagree


def test_the_farthest_apart_come_first_and_one_without_an_answer_before_all() -> None:
    pairs = (
        Pair("near", classes("a", 0.6), classes("b", 0.6)),
        Pair("same", classes("a", 0.9), classes("a", 0.9)),
        Pair("none", classes("a", 0.6), REFUSED),
        Pair("far", classes("a", 0.9), classes("b", 0.9)),
    )
    assert [pair.name for pair in Difference(pairs).disagreements] == ["none", "far", "near"]


def test_the_share_is_of_what_was_answered_with_wilsons_interval() -> None:
    agreed = [Pair("1", classes("a", 0.9), classes("a", 0.9))] * 98
    found = Difference((*agreed, *[Pair("2", classes("a", 0.9), classes("b", 0.9))] * 2, Pair("3", REFUSED, REFUSED)))
    assert found.share == 0.02
    assert found.interval == pytest.approx((0.0055, 0.0700), abs=1e-4)  # by the formula: Wilson 1927


def test_nothing_answered_claims_nothing() -> None:
    found = Difference((Pair("1", REFUSED, REFUSED),))
    assert (found.share, found.interval, found.confidence, found.latency) == (0.0, (0.0, 1.0), None, None)


def test_latency_is_compared_request_by_request() -> None:
    seconds = [0.001, 0.01, 0.1, 1.0]
    pairs = [Pair("1", classes("a", 0.9, seconds=each), classes("a", 0.8, seconds=2 * each)) for each in seconds]
    found = Difference(tuple(pairs))
    assert found.latency
    assert found.latency.mean == pytest.approx(2.0)
    assert found.latency.interval == pytest.approx((2.0, 2.0))
    assert found.confidence
    assert found.confidence.mean == pytest.approx(-0.1)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The colour model packed as 2.0, which takes blue for green."""
    run = write_colour_run(tmp_path_factory.mktemp("other") / "run")
    (run / "model.py").write_text(NETWORK.replace("self.conv(x)", "self.conv(x)[:, [0, 2, 2]]"))
    (run / "golden" / "golden.json").write_text("[]")
    output = run.parent / "other.mar"
    return pack_run(run, name="colours", version="2.0", output=output)


def diff(*words: object) -> Result:
    return CliRunner().invoke(build(), ["diff", *map(str, words)])


@pytest.mark.slow
def test_golden_requests_are_asked_where_no_images_are_given(colour_archive: Path, other: Path) -> None:
    result = diff(colour_archive, other, "--max-disagreement", "0.5", "--json")
    found = json.loads(result.stdout)

    assert found["answered"] == len(LABELS)
    assert {each["name"]: each["disagree"] for each in found["requests"]} == {
        "red.png": False,
        "green.png": True,
        "blue.png": True,
    }
    assert result.exit_code == 1
    assert "66.7% is more than 50.0%" in result.stderr


@pytest.mark.slow
def test_a_folder_of_images_is_read_through_and_what_is_no_image_is_told_apart(
    colour_archive: Path, other: Path, tmp_path: Path
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "[1].png").write_bytes(colour_image("red"))
    (tmp_path / "2.png").write_bytes(colour_image("green"))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").write_text("not looked at")
    result = diff(colour_archive, other, tmp_path, "--max-disagreement", "0.5")

    assert "2, and 1 that neither answered" in result.stdout
    assert "1: 50.0%, 95 % interval" in result.stdout
    assert "green 0." in result.stdout
    assert result.exit_code == 0


def test_what_is_not_there_is_told_before_anything_is_loaded(colour_archive: Path, tmp_path: Path) -> None:
    assert "there is no file" in str(diff(colour_archive, colour_archive, tmp_path / "x").exception)
    assert "there is no archive" in str(diff(colour_archive, tmp_path / "x.mar").exception)


def test_without_images_and_golden_requests_there_is_nothing_to_ask(other: Path) -> None:
    assert "neither archive has golden requests" in str(diff(other, other).exception)
