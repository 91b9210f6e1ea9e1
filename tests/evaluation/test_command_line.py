"""`torchfinch evaluate`, `crossval` and `compare` as people type them."""

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colours import LABELS, colour_image, write_colour_run
from typer.testing import CliRunner, Result

from torchfinch.cli import build, main
from torchfinch.cli.evaluate import _show
from torchfinch.console import out, table
from torchfinch.errors import TorchfinchError
from torchfinch.evaluation import evaluate, evaluate_regression
from torchfinch.report import write_evaluation


def run(*words: object) -> Result:
    return CliRunner().invoke(build(), [str(word) for word in words])


def answer(*words: object) -> Any:
    result = run(*words, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three images of each colour, and a blue one among the red."""
    for label in LABELS:
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "photos" / label / f"{number}.png").write_bytes(colour_image(label, (20 + number, 20)))
    (tmp_path / "photos" / "red" / "wrong.png").write_bytes(colour_image("blue"))
    return tmp_path / "photos"


def test_a_run_and_its_archive_are_measured_alike(colour_run: Path, colour_archive: Path, photos: Path) -> None:
    measured = answer("evaluate", colour_run, "--data", photos)

    assert measured == answer("evaluate", colour_archive, "--data", photos)
    assert measured["confusion_matrix"] == [[3, 0, 1], [0, 3, 0], [0, 0, 3]]
    assert measured["accuracy"] == 0.9


def test_the_table_has_the_worst_class_first_and_the_averages(colour_run: Path, photos: Path) -> None:
    lines = [line.split() for line in run("evaluate", colour_run, "--data", photos).stdout.splitlines()]
    classes = next(place for place, line in enumerate(lines) if line[:2] == ["classes,", "worst"])

    assert lines[classes + 3][0] == "green"
    assert ["accuracy", "0.9000"] in lines
    assert ["macro", "0.9167", "0.9167", "0.9524", "0.9048"] in lines


def test_the_confusion_matrix_is_shown_where_there_is_room(colour_run: Path, photos: Path) -> None:
    lines = [line.split() for line in run("evaluate", colour_run, "--data", photos).stdout.splitlines()]

    assert lines[-3:] == [["red", "3", "0", "1"], ["green", "0", "3", "0"], ["blue", "0", "0", "3"]]
    assert lines[-4] == list(LABELS)
    assert lines[-5][:2] == ["confusion", "matrix:"]


@pytest.mark.parametrize(("width", "shown"), [(38, True), (37, False)])
def test_a_confusion_matrix_is_shown_whole_or_left_to_the_page(
    width: int, shown: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, targets = ("shoe", "coat of wool", "上着"), np.repeat([0, 1, 2], [3, 12_345, 2])
    monkeypatch.setattr(out, "width", width)
    _show(evaluate(targets, np.eye(3)[targets], labels=labels))
    printed = capsys.readouterr().out.partition("confusion matrix")[2]

    assert ("--json and --html have it" in printed) is not shown
    if shown:
        assert "\n              shoe  coat of wool  上着\n" in printed
        assert "\ncoat of wool  0     12,345        0" in printed


def test_an_alpha_out_of_bounds_is_a_usage_error_before_anything_is_read() -> None:
    result = run("compare", "one", "other", "--alpha", 0.0009)

    assert result.exit_code == 2
    assert "0.001" in result.stderr


def test_the_table_names_the_delta_of_the_huber_loss(capsys: pytest.CaptureFixture[str]) -> None:
    _show(evaluate_regression([1.0, 2.0], [1.5, 5.0]))

    assert "huber (δ = 1)" in capsys.readouterr().out


def test_brackets_in_a_label_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    labels = ("tea [small]", "tea [tall]", "x[/y]")
    out.print(table(("[b]", "n"), [(label, None) for label in labels]))

    assert capsys.readouterr().out.split() == ["[b]", "n", *" ".join(labels).split()]


def test_classes_with_brackets_are_told_apart(colour_run: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(colour_run, tmp_path / "teas")
    described = (tmp_path / "teas" / "model.json").read_text()
    (tmp_path / "teas" / "model.json").write_text(described.replace('"red"', '"red [small]"'))
    (photos / "red").rename(photos / "red [small]")

    assert "red [small] " in run("evaluate", "teas", "--data", photos).stdout


def test_the_page_shows_curves_and_the_worst_mistake_and_asks_for_nothing(
    colour_run: Path, photos: Path, tmp_path: Path
) -> None:
    assert run("evaluate", colour_run, "--data", photos, "--html", "page.html").exit_code == 0
    page = (tmp_path / "page.html").read_text()

    for expected in ("Confusion matrix", "ROC", "Precision and recall", "Reliability", "red, taken for blue"):
        assert expected in page
    assert page.count("<img") == 1
    assert 'src="data:image/' in page
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page


def test_the_page_names_the_files_of_the_mistakes_and_has_the_one_most_wrong_first(
    colour_run: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "green" / "not-green.png").write_bytes(colour_image("red"))
    run("evaluate", colour_run, "--data", photos, "--html", "page.html")
    page = (tmp_path / "page.html").read_text()

    found = re.findall(r"<figcaption><b>(.*?)</b><br>(\w+), taken for (\w+): \w+ (.*?) %, \w+ (.*?) %<", page)
    assert {each[:3] for each in found} == {("red/wrong.png", "red", "blue"), ("green/not-green.png", "green", "red")}
    assert [float(each[3]) for each in found] == sorted(float(each[3]) for each in found)
    assert "from the lowest probability of the true class upwards" in page


@pytest.mark.parametrize(("folder", "warned"), [("photos", True), ("elsewhere", False), (None, False)])
def test_images_of_the_folder_that_a_model_was_trained_on_are_warned_of(
    colour_run: Path, photos: Path, tmp_path: Path, *, folder: str | None, warned: bool
) -> None:
    shutil.copytree(colour_run, tmp_path / "trained")
    described = json.loads((colour_run / "model.json").read_text())
    described["lineage"] = {"recipe": "finetune", "config": {"folder": folder} if folder else {}}
    (tmp_path / "trained" / "model.json").write_text(json.dumps(described))
    result = run("evaluate", "trained", "--data", photos)

    assert result.exit_code == 0
    assert ("trained was trained on images of" in result.stderr) is warned


def test_a_broken_file_is_named_and_the_others_are_measured(colour_run: Path, photos: Path) -> None:
    (photos / "green" / "broken.png").write_text("no image")
    result = run("evaluate", colour_run, "--data", photos, "--json")

    assert result.exit_code == 1
    assert "broken.png" in result.stderr
    assert json.loads(result.stdout)["samples"] == 10


def test_a_broken_model_or_folder_is_said(colour_run: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(colour_run, tmp_path / "torn")
    (tmp_path / "torn" / "weights.safetensors").write_bytes(b"torn")
    shutil.copytree(colour_run, tmp_path / "changed")
    described = json.loads((colour_run / "model.json").read_text())
    described["lineage"] = {"recipe": "digits", "config": {"depth": 3}}
    (tmp_path / "changed" / "model.json").write_text(json.dumps(described))
    (photos / "mauve").mkdir()
    (tmp_path / "empty").mkdir()
    said = {
        ("evaluate", "torn", "--data", photos): "torn cannot be loaded: weights.safetensors",
        ("evaluate", "empty"): "empty is no run folder",
        ("evaluate", "nowhere.mar"): "no archive nowhere.mar",
        ("evaluate", colour_run, "--data", photos): "mauve is named for no class of the model",
        ("evaluate", colour_run, "--data", "empty"): "empty holds no images",
        ("evaluate", colour_run): "no recipe 'colours'",
        ("evaluate", colour_run, "--data", "digits"): "other labels than",
        ("evaluate", colour_run, "--data", "photoz/"): "there is neither a folder photoz/ nor such a recipe",
        ("evaluate", colour_run, "--data", "finetune"): "the recipe finetune must be told folder",
        ("evaluate", "changed"): "changed was trained by another digits: the recipe digits has no setting 'depth'",
        ("compare", colour_run, "empty"): "empty is no run folder",
    }
    for words, message in said.items():
        error = run(*words).exception
        assert isinstance(error, TorchfinchError), words
        assert message in error.message
        assert "\n" not in error.message


COLOURS = """
import torch
from torch import nn

from torchfinch.handler import Preprocessing
from torchfinch.training import Data, Images, Settings


class Config(Settings):
    pass


def build(config):
    images = Images(torch.zeros(3, 3, SIDE, SIDE, dtype=torch.uint8), torch.arange(3))
    data = Data(labels=("red", "green", "blue"), train=images, validation=images, test=images)
    return data, nn.Flatten(), Preprocessing(size=(SIDE, SIDE))
"""


@pytest.mark.parametrize(("side", "command"), [(8, "evaluate"), (28, "evaluate"), (28, "compare")])
def test_a_recipe_with_images_of_another_size_is_refused(
    colour_run: Path, tmp_path: Path, side: int, command: str
) -> None:
    recipes = tmp_path / "training"
    recipes.mkdir()
    for name, each in {"other": side, "fitting": 16}.items():
        (recipes / f"{name}.py").write_text(COLOURS.replace("SIDE", str(each)))
    models = [colour_run] * (2 if command == "compare" else 1)
    error = run(command, *models, "--data", "other").exception

    assert isinstance(error, TorchfinchError)
    assert f"recipe other have the shape (3, {side}, {side}), and " in error.message
    assert error.message.endswith(" takes (3, 16, 16)")
    assert run(command, *models, "--data", "fitting").exit_code == 0


def test_the_json_has_the_curves(colour_run: Path, photos: Path) -> None:
    curves = answer("evaluate", colour_run, "--data", photos)["curves"]

    assert set(curves) == {"roc", "precision_recall"}
    assert {curve["name"] for curve in curves["roc"]} == {"all classes", *LABELS}
    assert all(curve["points"][-1] == [1, 1] for curve in curves["roc"])


def test_two_models_are_compared_image_by_image(colour_run: Path, photos: Path, tmp_path: Path) -> None:
    write_colour_run(tmp_path / "upside", sharpness=-2.0)
    compared = answer("compare", colour_run, "upside", "--data", photos)

    assert (compared["only_first"], compared["only_second"]) == (9, 1)
    assert compared["p"] == pytest.approx(2 * (1 + 10) / 2**10)
    assert "more images right than upside" in compared["claim"]
    assert "McNemar" in run("compare", colour_run, "upside", "--data", photos).stdout
    stricter = run("compare", colour_run, "upside", "--data", photos, "--alpha", "0.01").stdout
    assert "99 % interval" in stricter
    assert "95 % interval" not in stricter
    assert "It may not be claimed" in stricter


def test_of_models_that_never_differ_it_is_said_that_they_have_no_odds(colour_run: Path, photos: Path) -> None:
    shown = run("compare", colour_run, colour_run, "--data", photos).stdout

    assert "odds ratio" in shown
    assert "none: neither has an image right that the other has wrong" in shown
    assert "nan" not in shown


@pytest.mark.parametrize(
    "words", [("crossval", "digits"), ("tune", "digits", "--search", "epochs=1,2"), ("tune", "digits", "--folds", "2")]
)
def test_a_seed_that_is_too_large_is_a_usage_error(words: tuple[str, ...]) -> None:
    result = run(*words, "--seed", 2**32)

    assert result.exit_code == 2
    assert "4294967295" in result.stderr


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    for words, said in {
        ("evaluate", "x", "--html", "."): "'.' is a directory",
        ("crossval", "digits", "--output", "file"): "'file' is a file",
    }.items():
        result = run(*words)
        assert result.exit_code == 2
        assert said in result.stderr
    for path, why in {"file": "File exists", "file/folder": "Not a directory"}.items():
        with pytest.raises(SystemExit):
            main((tmp_path / path).mkdir)
        assert f"{path}: {why}\n  name another place" in capsys.readouterr().err


@pytest.mark.slow
def test_recipe_and_estimator_are_cross_validated_and_compared() -> None:
    svc = answer("crossval", "sklearn.svm.SVC", "--data", "digits", "--set", "gamma=0.25", "--folds", "3")
    digits = answer("crossval", "digits", "--set", "epochs=3", "--set", "width=4", "--folds", "3")
    compared = answer("compare", "reports/crossval/SVC", "reports/crossval/digits")

    assert svc["data"] == digits["data"]
    assert svc["samples"] == 1438  # training and validation: the test images are for later
    assert svc["summary"]["accuracy"]["mean"] > 0.97
    assert digits["parameters"]["epochs"] == 3
    assert compared["first"] == svc["summary"]["accuracy"]["mean"]
    assert compared["difference"] < 0
    assert "claimed" in compared["claim"]
    run("crossval", "sklearn.svm.SVC", "--data", "digits", "--folds", "3", "--seed", "1", "--output", "other")
    for words, message in {
        ("compare", "reports/crossval/digits", "other"): "not on the same folds",
        ("compare", "reports/crossval/digits", "reports/crossval/SVC", "--metric", "cross_entropy"): "has no",
        ("compare", "reports/crossval/digits", "."): "different kinds",
    }.items():
        error = run(*words).exception
        assert isinstance(error, TorchfinchError)
        assert message in error.message


def test_what_cannot_be_cross_validated_is_said() -> None:
    for words, message in {
        ("crossval", "sklearn.svm.SVC"): "is given no images",
        ("crossval", "digits", "--set", "epochz=3"): "no setting 'epochz'",
        ("crossval", "digits", "--folds", "200"): "fewer than 200 folds",
        ("crossval", "digits", "--folds", "140"): "class eight has 139 images",
        ("compare", "reports/crossval/nope", "reports/crossval/SVC"): "reports/crossval/nope does not exist",
    }.items():
        error = run(*words).exception
        assert isinstance(error, TorchfinchError)
        assert message in error.message
    assert run("crossval", "digits", "--set", "epochs").exit_code == 2


@pytest.mark.slow
def test_a_recipe_that_predicts_numbers_is_cross_validated_too() -> None:
    found = answer("crossval", "angles", "--set", "epochs=1", "--set", "width=4", "--folds", "2")

    assert set(found["summary"]) == {"r2", "mae", "rmse"}
    assert found["summary"]["rmse"]["mean"] > found["summary"]["mae"]["mean"] > 0


def test_a_classifier_that_gives_every_image_the_same_is_drawn_as_chance(tmp_path: Path) -> None:
    targets, rows = np.array([0, 0, 0, 1]), np.full((4, 2), 0.5, np.float32)
    write_evaluation(
        tmp_path / "page.html",
        evaluate(targets, rows, labels=("no", "yes")),
        pixels=np.zeros((4, 3, 4, 4), np.uint8),
        targets=targets,
        rows=rows,
        title="constant",
        source="4 images",
        now=datetime(2026, 1, 2, tzinfo=UTC),
    )

    assert (tmp_path / "page.html").read_text().count('d="M0 100L100 0"') == 3  # chance, it, and what is calibrated


def test_the_page_of_a_regression_shows_the_farthest_predictions(tmp_path: Path) -> None:
    truth, predicted = np.array([[1.0], [2.0], [3.0]], np.float32), np.array([[1.0], [7.5], [3.1]], np.float32)
    write_evaluation(
        tmp_path / "page.html",
        evaluate_regression(truth, predicted),
        pixels=np.zeros((3, 3, 4, 4), np.uint8),
        targets=truth,
        rows=predicted,
        title="angles",
        source="3 images",
        now=datetime(2026, 1, 2, tzinfo=UTC),
    )
    page = (tmp_path / "page.html").read_text()

    assert page.index("2, predicted 7.5") < page.index("3, predicted 3.1")
    assert "root mean squared error" in page
    assert "Confusion matrix" not in page
