"""`torchfinch evaluate` and `compare` with runs of a recipe that lies in a folder of its own."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from torchfinch.cli import build
from torchfinch.errors import TorchfinchError

NETWORK = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(3 * 4 * 4, 2)

    def forward(self, x):
        return self.last(x.flatten(1))
"""
RECIPE = """
import torch
from torchfinch.handler import Preprocessing
from torchfinch.training import Data, FitSettings, Images
from .net import Net


class Config(FitSettings):
    epochs: int = 1
    shade: int = 0
    classes: int = 2
    numbers: bool = False


def build(config):
    pixels = torch.arange(12, dtype=torch.uint8).reshape(12, 1, 1, 1).repeat(1, 3, 4, 4) + config.shade
    targets = torch.arange(12) % config.classes
    images = Images(pixels, targets[:, None].float().repeat(1, 2) if config.numbers else targets)
    data = Data(labels=("even", "odd"), train=images, validation=images, test=images)
    return data, Net(), Preprocessing(size=(4, 4))
"""


def run(*words: object) -> Result:
    return CliRunner().invoke(build(), [str(word) for word in words])


def answer(*words: object) -> Any:
    result = run(*words, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def error(*words: object) -> TorchfinchError:
    said = run(*words).exception
    assert isinstance(said, TorchfinchError), said
    return said


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the recipe `tiny`: twelve images of two classes, or with two numbers each."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "net.py").write_text(NETWORK)
    (tmp_path / "mine" / "tiny.py").write_text(RECIPE)
    return tmp_path / "mine" / "tiny.py"


def train(recipe: Path, runs: str, *settings: str) -> str:
    """Train the recipe, and return the run folder."""
    words = [word for setting in settings for word in ("--set", setting)]
    result = run("train", recipe, "--runs", runs, "--no-pack", *words)
    assert result.exit_code == 0, result.exception
    return f"{runs}/tiny"


def test_a_run_of_a_recipe_of_another_place_is_measured_when_the_recipe_is_named(recipe: Path) -> None:
    model = train(recipe, "runs")

    assert "--data path/to/tiny.py names a recipe of another place" in str(error("evaluate", model))
    assert answer("evaluate", model, "--data", recipe)["samples"] == 12


def test_images_that_a_recipe_cannot_make_are_one_line(recipe: Path) -> None:
    model = train(recipe, "runs")
    said = "the recipe tiny: targets reach 2, but there are 2 labels"

    assert said in error("crossval", recipe, "--set", "classes=3").message
    described = Path(model, "model.json")
    described.write_text(described.read_text().replace('"classes": 2', '"classes": 3'))
    assert said in error("evaluate", model, "--data", recipe).message


def test_models_of_other_images_of_the_same_classes_are_not_compared(recipe: Path) -> None:
    first, again, lighter = train(recipe, "a"), train(recipe, "b", "seed=1"), train(recipe, "c", "shade=1")

    assert answer("compare", first, again, "--data", recipe)["samples"] == 12
    assert "have different test images" in error("compare", first, lighter, "--data", recipe).message


def test_two_regressors_are_compared_on_one_test_set(recipe: Path) -> None:
    numbers = ("numbers=true", "loss.name=huber")
    names = train(recipe, "a", *numbers), train(recipe, "b", *numbers, "seed=1")
    compared = answer("compare", *names, "--data", recipe)

    assert compared["first"] == pytest.approx(answer("evaluate", names[0], "--data", recipe)["mae"])
    assert compared["interval"][0] <= compared["difference"] <= compared["interval"][1]
    assert "errs less" in compared["claim"]
    assert "mean absolute error" in run("compare", *names, "--data", recipe).stdout
