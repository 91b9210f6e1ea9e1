"""The recipes of Fashion-MNIST, on a few images in the files' own format."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from training.helpers import installed

from torchfinch.evaluation import Evaluation
from torchfinch.training import Recipe, fashion_mnist, load_recipe, train

FOLDER = Path(__file__).parents[2] / "training"


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Recipe]:
    """`fashion` and `fashion_resnet`, that read 120 images to learn from and 20 to test with."""
    found = {name: load_recipe(str(FOLDER / f"{name}.py")) for name in ("fashion", "fashion_resnet")}
    resnet: Any = sys.modules[found["fashion_resnet"].build.__module__]
    small = partial(fashion_mnist, installed(tmp_path, train=120, test=20))
    for module in (sys.modules[found["fashion"].build.__module__], resnet.fashion):
        monkeypatch.setattr(module, "fashion_mnist", small)
    return found


@pytest.mark.parametrize(
    ("name", "least", "most"), [("fashion", 200_000, 500_000), ("fashion_resnet", 2_700_000, 2_900_000)]
)
def test_a_network_is_as_small_as_is_said_and_scores_every_class(
    recipes: dict[str, Recipe], name: str, least: int, most: int
) -> None:
    data, model, preprocessing = recipes[name].made(recipes[name].configure())
    assert data.train
    assert data.validation
    assert data.test
    images = preprocessing.normalise(data.train.pixels[:3])

    assert [len(part) for part in (data.train, data.validation, data.test)] == [110, 10, 20]
    assert least <= sum(parameter.numel() for parameter in model.parameters()) <= most
    assert model(images).shape == model.eval()(images).shape == (3, 10)


def test_what_is_learnt_from_is_changed_at_random_and_stays_an_image(recipes: dict[str, Recipe]) -> None:
    data, _, _ = recipes["fashion_resnet"].made(recipes["fashion_resnet"].configure())
    assert data.train
    assert data.augment
    changed = data.augment(data.train.pixels, torch.Generator().manual_seed(0))

    assert (changed.dtype, changed.shape) == (torch.uint8, data.train.pixels.shape)
    assert not torch.equal(changed, data.train.pixels)


def test_fashion_ends_in_a_run(recipes: dict[str, Recipe], tmp_path: Path) -> None:
    recipe = recipes["fashion"]
    run = train(recipe, recipe.configure({"epochs": "1", "batch_size": "32"}), runs=tmp_path / "runs")

    assert isinstance(run.evaluation, Evaluation)
    assert run.evaluation.samples == 20
    assert len(run.golden) == 10
