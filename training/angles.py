"""Regression on images: by how many degrees a handwritten digit was turned.

The digits are scikit-learn's, 8 x 8 pixels; each is enlarged to 16 x 16 and turned four times by an angle drawn from
-45 to 45 degrees. The parts are split before turning, so no digit is in two of them.
"""

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torchvision.transforms.v2 import functional

from torchfinch.handler import Preprocessing
from torchfinch.training import Data, FitSettings, Images, Loss, split

from .networks.angles import AngleNet

MOST = 45.0
SIZE = 16
TURNS = 4


class Config(FitSettings):
    """The settings."""

    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=128, ge=1)
    keep: Literal["best", "final"] = "final"
    threads: int = Field(default=1, ge=0)  # the same weights on any number of cores
    loss: Loss = Loss(name="huber", delta=5)  # degrees; a digit that looks the same turned by far is an outlier
    width: int = Field(default=24, ge=1, description="channels of the first two convolutions")


def build(config: Config) -> tuple[Data, nn.Module, Preprocessing]:
    """Turned digits in three parts, the network with its first weights, and what is done to an image."""
    digits = load_digits()
    grey = np.round(digits.images * 255 / 16).astype(np.uint8)  # (1797, 8, 8)
    images = Images(torch.from_numpy(grey).unsqueeze(1), torch.from_numpy(digits.target).long())
    parts = split(images, validation=0.1, test=0.2, seed=0)
    firsts = np.cumsum([0, *map(len, parts[:-1])]).tolist()
    train, validation, test = (
        turned(part.pixels, seed=number, first=firsts[number]) for number, part in enumerate(parts)
    )
    preprocessing = Preprocessing(size=(SIZE, SIZE), mode="L", mean=(0.5,), std=(0.5,))
    return Data(labels=("angle",), train=train, validation=validation, test=test), AngleNet(config.width), preprocessing


def turned(pixels: Tensor, *, seed: int, first: int) -> Images:
    """Each image of shape (N, 1, 8, 8) `TURNS` times, turned counter-clockwise by the degrees that are its target.

    The turns of one image are a group; groups are numbered from `first`.
    """
    chance = torch.Generator().manual_seed(seed)
    large = functional.resize(pixels.repeat_interleave(TURNS, dim=0), [SIZE, SIZE], antialias=True)
    degrees = (torch.rand(len(large), 1, generator=chance) * 2 - 1) * MOST
    bilinear = functional.InterpolationMode.BILINEAR
    images = [
        functional.rotate(image, angle, interpolation=bilinear)
        for image, angle in zip(large, degrees.flatten().tolist(), strict=True)
    ]
    groups = first + torch.arange(len(pixels)).repeat_interleave(TURNS)
    return Images(torch.stack(images), degrees, groups)
