"""Fashion-MNIST: ten classes of clothes, by a network of 0.2 million parameters.

An epoch learns from half of the images; those whose class is still in doubt are preferred.

The settings were chosen by the 5,000 validation images, which are part of the 60,000 for training. Every training looks
at the 10,000 test images once, at its end. So did trainings with earlier settings, and their results were known when
these were chosen (`benchmarks/results/h100.json` in the repository of torchfinch).
"""

from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from torchfinch.handler import Preprocessing
from torchfinch.training import (
    Data,
    FitSettings,
    Loss,
    Optimizer,
    Schedule,
    cutout,
    fashion_mnist,
    mirror_and_shift,
    split,
)
from torchfinch.training.datasets import FASHION_LABELS

from .networks.fashion import FashionNet

PREPROCESSING = Preprocessing(size=(28, 28), mode="L", mean=(0.286,), std=(0.353,))


class Config(FitSettings):
    """The settings."""

    epochs: int = Field(default=18, ge=1)
    batch_size: int = Field(default=128, ge=1)
    learning_rate: float = Field(default=0.2, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    ema: float = Field(default=0.99, ge=0, lt=1)
    keep: Literal["best", "final"] = "final"
    channels_last: bool = True
    optimizer: Optimizer = Optimizer(name="momentum", momentum=0.95)
    schedule: Schedule = Schedule(swing=0.1)
    loss: Loss = Loss(label_smoothing=0.1)
    sampling: Literal["shuffled", "balanced", "doubtful"] = "doubtful"
    share: float = Field(default=0.5, gt=0, le=1)
    width: int = Field(default=16, ge=1, description="channels at first; the last convolutions have six times as many")
    dropout: float = Field(default=0, ge=0, lt=1, description="share of features hidden from the last layer")
    hidden: int = Field(default=0, ge=0, le=28, description="side of the square that is hidden in a training image")


def build(config: Config) -> tuple[Data, nn.Module, Preprocessing]:
    """The images in three parts, the network with its first weights, and what is done to an image."""
    network = FashionNet(len(FASHION_LABELS), config.width, config.dropout)
    return images(config.hidden), network, PREPROCESSING


def images(hidden: int) -> Data:
    """Fashion-MNIST, mirrored, shifted and with a hidden square where it is learnt from."""
    known, test = fashion_mnist()
    train, validation, _ = split(known, validation=1 / 12, test=0, seed=0)
    augment = partial(_augment, hidden=hidden)
    return Data(labels=FASHION_LABELS, train=train, validation=validation, test=test, augment=augment)


def _augment(pixels: Tensor, chance: torch.Generator, *, hidden: int) -> Tensor:
    return cutout(mirror_and_shift(pixels, chance, most=2), chance, size=hidden)
