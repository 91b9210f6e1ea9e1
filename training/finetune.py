"""A folder of your own images, told apart by a network that has seen ImageNet: its head learns first, then all of it.

    torchfinch train finetune --set folder=photos

The folder holds a folder for each class. `efficientnet_lite0` has its weights in a package of torchfinch's demo extra;
any other backbone is torchvision's by name, such as `resnet18`, and its weights are downloaded.
"""

from pathlib import Path
from urllib.error import URLError

from pydantic import Field
from torch import nn
from torchvision import models

from torchfinch.errors import TorchfinchError
from torchfinch.handler import Preprocessing
from torchfinch.training import Data, FitSettings, Frozen, each, image_folder, standard

from .imagenet import read_weights
from .networks.backbone import Backbone
from .networks.efficientnet_lite0 import EfficientNetLite0

LITE = "efficientnet_lite0"
_HEADLESS = ("squeezenet", "googlenet", "inception")  # their last layer is no linear one, or they have several


class Config(FitSettings):
    """The settings."""

    folder: Path = Field(description="where the images lie, a folder for each class")
    backbone: str = Field(default=LITE, description="efficientnet_lite0, or a classifier of torchvision by name")
    size: int = Field(default=224, ge=32, description="height and width of what the network sees, pixels")
    validation: float = Field(default=0.15, gt=0, lt=0.5, description="share of the images that settings are chosen by")
    test: float = Field(default=0.15, gt=0, lt=0.5, description="share of the images that the result is stated for")
    epochs: int = Field(default=8, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    frozen: Frozen = Frozen(epochs=2)


def build(config: Config) -> tuple[Data, nn.Module, Preprocessing]:
    """The images in three parts, the network with published weights, and what is done to an image."""
    lite = config.backbone == LITE
    shift = (0.5, 0.5, 0.5) if lite else (0.485, 0.456, 0.406)
    scale = (0.5, 0.5, 0.5) if lite else (0.229, 0.224, 0.225)
    preprocessing = Preprocessing(
        size=(config.size, config.size),
        resize=config.size * 8 // 7,
        interpolation="bicubic" if lite else "bilinear",
        mean=shift,
        std=scale,
    )
    data, _ = image_folder(
        config.folder,
        preprocessing=preprocessing,
        validation=config.validation,
        test=config.test,
        seed=config.seed,
        augment=each(standard(preprocessing.size)),
    )
    return data, lite_network(len(data.labels)) if lite else network(config.backbone, len(data.labels)), preprocessing


def lite_network(classes: int) -> nn.Module:
    """EfficientNet-Lite0 with ImageNet's weights and a new head."""
    model = EfficientNetLite0(classes)
    kept = {name: tensor for name, tensor in read_weights().items() if not name.startswith("_fc.")}
    model.load_state_dict({**model.state_dict(), **kept})
    return model


def network(name: str, classes: int) -> nn.Module:
    """A classifier of torchvision with its best published weights and a new head."""
    if name not in models.list_models(models) or name.startswith(_HEADLESS):
        raise TorchfinchError(f"torchvision has no backbone {name!r}", "take efficientnet_lite0 or resnet18")
    model = Backbone(name, classes)
    try:
        published = models.get_model_weights(name).DEFAULT.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError) as error:
        raise TorchfinchError(
            f"the weights of {name} cannot be downloaded: {error}", f"--set backbone={LITE} needs no download"
        ) from error
    kept = {key: tensor for key, tensor in published.items() if key in model.features.state_dict()}
    model.features.load_state_dict(kept)
    return model
