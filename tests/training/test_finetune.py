"""The recipe that fine-tunes a network with published weights on a folder of images."""

import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from PIL import Image
from torchvision import models

from torchfinch.archive import pack_run, verify
from torchfinch.errors import TorchfinchError
from torchfinch.evaluation import Evaluation
from torchfinch.handler import safetensors
from torchfinch.testing import encode_image
from torchfinch.training import FitSettings, load_recipe, train

RECIPE = load_recipe(str(Path(__file__).parents[2] / "training" / "finetune.py"))
finetune: Any = sys.modules[RECIPE.build.__module__]
imagenet: Any = sys.modules[finetune.read_weights.__module__]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve images of each of two colours."""
    for colour in ("red", "blue"):
        (tmp_path / "photos" / colour).mkdir(parents=True)
        for size in range(30, 54, 2):
            image = Image.effect_noise((size, size), 40).convert("RGB")
            tinted = Image.blend(image, Image.new("RGB", image.size, colour), 0.5)
            (tmp_path / "photos" / colour / f"{size}.png").write_bytes(encode_image(tinted))
    return tmp_path / "photos"


def configured(photos: Path, **values: Any) -> FitSettings:
    """The recipe's settings, for images of 48 pixels."""
    config = RECIPE.configure({"folder": str(photos), "size": 48, "validation": 0.25, "test": 0.25, **values})
    assert isinstance(config, FitSettings)
    return config


@pytest.mark.slow
def test_a_folder_is_learnt_from_and_its_archive_proves_itself(photos: Path, tmp_path: Path) -> None:
    config = configured(photos, epochs=6, frozen={"epochs": 5}, batch_size=4, learning_rate=0.01)
    run = train(RECIPE, config, runs=tmp_path / "runs")

    assert isinstance(run.evaluation, Evaluation)
    assert run.evaluation.accuracy == 1
    assert verify(pack_run(run.folder, name="colours", version="1.0", output=tmp_path / "colours.mar")).ok


@pytest.mark.slow
def test_the_head_learns_first_and_the_published_features_stay(photos: Path, tmp_path: Path) -> None:
    run = train(RECIPE, configured(photos, epochs=1, frozen={"epochs": 1}), runs=tmp_path / "runs")
    weights = safetensors.load(run.folder / "weights.safetensors")
    published = imagenet.read_weights()

    assert {name for name in published if not torch.equal(weights[name], published[name])} == {"_fc.weight", "_fc.bias"}


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_classifiers_of_torchvision_get_a_new_head(name: str) -> None:
    model = finetune.Backbone(name, 3)

    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 3)
    assert list(dict(model.named_children())) == ["features", "classifier"]


@pytest.mark.parametrize("name", ["resnet19", "squeezenet1_1", "inception_v3"])
def test_what_cannot_be_a_backbone_is_told(photos: Path, name: str) -> None:
    with pytest.raises(TorchfinchError, match=f"torchvision has no backbone '{name}'"):
        RECIPE.build(configured(photos, backbone=name))


def test_published_weights_that_cannot_be_had_are_told(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any, **_named: Any) -> Any:
        raise URLError("no route")

    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", refuse)
    with pytest.raises(TorchfinchError, match=r"the weights of resnet18 cannot be downloaded: .*no route"):
        RECIPE.build(configured(photos, backbone="resnet18"))
