"""`torchfinch train`: what goes to stdout, what to stderr, and what is refused before anything is trained."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from torchfinch.archive import read_archive
from torchfinch.cli import build
from torchfinch.errors import TorchfinchError
from torchfinch.training import recipe_names

QUICK = ("--set", "epochs=1", "--set", "width=4")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def torchfinch(*arguments: str) -> Result:
    return CliRunner().invoke(build(), ["train", *arguments])


def refusal(*arguments: str) -> str:
    """The one line with which the command fails before it has written anything."""
    error = torchfinch(*arguments).exception
    assert isinstance(error, TorchfinchError)
    assert not list(Path().glob("*/"))
    return str(error)


def test_stdout_is_the_path_of_the_archive(here: Path) -> None:
    result = torchfinch("digits", *QUICK, "--version", "2.0")

    assert (result.exit_code, result.stdout) == (0, "model_store/digits.mar\n")
    info = read_archive(here / "model_store" / "digits.mar")
    assert (info.name, info.version, info.lineage["config"]["width"]) == ("digits", "2.0", 4)
    assert [golden.name for golden in info.golden] == [f"{number}.png" for number in range(10)]


def test_without_packing_stdout_is_the_run_folder(here: Path) -> None:
    result = torchfinch("digits", *QUICK, "--no-pack", "--runs", "elsewhere")

    assert (result.exit_code, result.stdout) == (0, "elsewhere/digits\n")
    assert [path.name for path in here.iterdir()] == ["elsewhere"]


def test_an_archive_goes_where_it_is_told_with_the_handler_that_is_told(here: Path) -> None:
    handler = Path(__file__).parents[2] / "handlers" / "averaged.py"
    result = torchfinch("digits", *QUICK, "--output", "out/d.mar", "--handler", str(handler))

    assert result.stdout == "out/d.mar\n"
    assert read_archive(here / "out" / "d.mar").manifest["model"]["handler"] == "averaged.py"


def test_the_settings_of_a_recipe_are_listed_and_nothing_is_trained(here: Path) -> None:
    result = torchfinch("digits", "--settings", "--set", "epochs=7")

    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "epochs 7 passes over the training images" in lines  # the recipe's own field says nothing of itself
    assert "optimizer.clip_norm none longest gradient, as a 2-norm; none: any" in lines
    assert "width 32 channels of the first two convolutions" in lines
    assert list(here.iterdir()) == []


@pytest.mark.usefixtures("here")
def test_the_list_of_settings_refuses_what_a_training_would(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no setting 'optimizer.momentun' (hint: did you mean optimizer.momentum?)" in refusal(
        "digits", "--settings", "--set", "optimizer.momentun=0.8"
    )
    assert refusal("finetune", "--settings", "--set", "seed=-1").startswith("seed=-1: input should be greater than")
    monkeypatch.setenv("TORCHFINCH_TRAIN_EPOCHS", "abc")
    assert refusal("digits", "--settings").startswith("epochs=abc: ")


def test_settings_are_listed_also_where_one_of_them_must_be_told() -> None:
    result = torchfinch("finetune", "--settings")

    assert result.exit_code == 0
    assert "(needed)" in next(line for line in result.stdout.splitlines() if line.startswith("folder"))


@pytest.mark.usefixtures("here")
def test_unknown_recipes_and_settings_say_what_there_is() -> None:
    assert refusal("digit") == f"there is no recipe 'digit' (hint: there are {', '.join(recipe_names())})"
    assert "there is no recipe file lost/mine.py (hint: recipes by name: angles, digits, fashion" in refusal(
        "lost/mine.py"
    )
    assert "no setting 'epoch' (hint: did you mean epochs?)" in refusal("digits", "--set", "epoch=3")
    assert "no setting 'zzz' (hint: it has seed, epochs, " in refusal("digits", "--set", "zzz=3")
    assert "imagenet has no setting 'epochs' (hint: it has seed)" in refusal("imagenet", "--set", "epochs=3")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "value", ["epochs=many", "epochs=0", "epochs=", "learning_rate=-1", "keep=worst", "device=tpu"]
)
def test_a_wrong_value_is_told_with_the_default(value: str) -> None:
    name = value.partition("=")[0]

    assert refusal("digits", "--set", value).startswith(f"{value}: ")
    assert f"(hint: the default is --set {name}=" in refusal("digits", "--set", value)


@pytest.mark.usefixtures("here")
def test_a_handler_that_could_not_be_packed_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("x = 1\n")

    assert "mine.py defines 0 classes" in refusal("digits", "--handler", "mine.py")


@pytest.mark.usefixtures("here")
def test_a_setting_without_a_value_is_a_usage_error() -> None:
    result = torchfinch("digits", "--set", "epochs")

    assert result.exit_code == 2
    assert "'epochs' is not NAME=VALUE" in result.stderr


@pytest.mark.slow
def test_imagenet_shows_its_golden_answers_in_place_of_an_accuracy(here: Path) -> None:
    result = torchfinch("imagenet")

    assert result.stdout == "model_store/imagenet.mar\n"
    assert {path.name for path in (here / "runs" / "imagenet" / "golden").iterdir()} == {
        "coffee.png",
        "flower.jpg",
        "golden.json",
    }


NETWORK = """
from torch import nn


class Mean(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(4, 2))
"""
WITHOUT_TEST = """
import torch

from torchfinch.handler import Preprocessing
from torchfinch.testing import encode_image
from torchfinch.training import Data, FitSettings, Images
from PIL import Image

from .mean import Mean


class Config(FitSettings):
    epochs: int = 1


def build(config):
    images = Images(torch.zeros(8, 1, 2, 2, dtype=torch.uint8), torch.zeros(8, 2))
    golden = {"dark.png": encode_image(Image.new("L", (2, 2)))}
    data = Data(labels=("age", "size"), train=images, validation=images, golden=golden)
    return data, Mean(), Preprocessing(size=(2, 2), mode="L", mean=(0.5,), std=(0.5,))
"""


def test_a_regressor_without_test_images_shows_its_golden_numbers_and_is_packed(here: Path) -> None:
    (here / "mean.py").write_text(NETWORK)
    (here / "numbers.py").write_text(WITHOUT_TEST)
    result = torchfinch("./numbers.py", "--set", "loss.name=mse")

    assert result.stdout == "model_store/numbers.mar\n"
    assert re.search(r"dark\.png +age -?[\d.e-]+, size -?[\d.e-]+\n", result.stderr)
    assert (here / "model_store" / "numbers.mar").is_file()


def test_a_regressor_with_test_images_shows_how_far_it_is_off(here: Path) -> None:
    recipe = WITHOUT_TEST.replace("golden=golden", "test=images").replace("torch.zeros(8, 2)", "torch.rand(8, 2)")
    (here / "mean.py").write_text(NETWORK)
    (here / "numbers.py").write_text(recipe)
    result = torchfinch("./numbers.py", "--set", "loss.name=huber", "--no-pack")

    found = json.loads((here / "runs" / "numbers" / "evaluation.json").read_text())
    assert f"{found['huber']:.4g} (δ = 1)" in next(line for line in result.stderr.splitlines() if "Huber" in line)


def test_a_file_then_the_environment_then_the_flags(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "quick.yaml").write_text("recipe: digits\nepochs: 9\nwidth: 9\nseed: 9\noptimizer: {name: momentum}\n")
    monkeypatch.setenv("TORCHFINCH_TRAIN_WIDTH", "4")
    monkeypatch.setenv("TORCHFINCH_TRAIN_EPOCHS", "8")
    result = torchfinch("quick.yaml", "--set", "epochs=1")

    assert result.stdout == "model_store/digits.mar\n"
    config = read_archive(here / "model_store" / "digits.mar").lineage["config"]
    assert (config["epochs"], config["width"], config["seed"]) == (1, 4, 9)
    assert config["optimizer"]["name"] == "momentum"
    assert not (here / "runs" / "digits.checkpoints").exists()


@pytest.mark.usefixtures("here")
def test_nothing_to_resume_is_told() -> None:
    error = torchfinch("digits", *QUICK, "--resume").exception

    assert str(error).startswith("there is no checkpoint to go on from in runs/digits.checkpoints")


def test_a_place_that_cannot_be_written_is_told(here: Path) -> None:
    (here / "file").touch()
    error = torchfinch("digits", *QUICK, "--runs", "file/runs").exception

    assert isinstance(error, TorchfinchError)
    assert "cannot be written: Not a directory" in str(error)


@pytest.mark.parametrize("output", ["file/d.mar", "/proc/d.mar", "/proc/folder/d.mar"])
def test_an_archive_that_could_not_be_written_is_refused_before_training(here: Path, output: str) -> None:
    (here / "file").touch()
    error = torchfinch("digits", *QUICK, "--output", output).exception

    assert isinstance(error, OSError)
    assert [path.name for path in here.iterdir()] == ["file"]


@pytest.mark.usefixtures("here")
def test_where_packing_fails_the_run_is_kept_and_the_way_to_pack_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    error = torchfinch("digits", *QUICK).exception

    assert isinstance(error, TorchfinchError)
    assert "SOURCE_DATE_EPOCH is 'yesterday'" in error.message
    assert "torchfinch pack runs/digits --version 1.0" in str(error.hint)
    assert Path("runs/digits/model.json").is_file()


@pytest.mark.parametrize(
    ("line", "command"), [("search: {width: '4,8'}", "tune"), ("estimator: sklearn.svm.SVC", "crossval")]
)
def test_a_file_for_another_command_is_told(here: Path, line: str, command: str) -> None:
    (here / "b.yaml").write_text(f"recipe: digits\n{line}\n")
    said = refusal("b.yaml")

    assert f"b.yaml has `{line.partition(':')[0]}`, which is not for train" in said
    assert f"torchfinch {command} b.yaml" in said


@pytest.mark.usefixtures("here")
def test_a_setting_without_effect_is_told_and_the_training_goes_on() -> None:
    result = torchfinch("digits", *QUICK, "--no-pack", "--set", "loss.gamma=2")

    assert result.exit_code == 0
    assert "loss.gamma has no effect: it is for loss.name=focal" in result.stderr
