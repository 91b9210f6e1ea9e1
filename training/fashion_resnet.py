"""Fashion-MNIST by a residual network of 2.8 million parameters, for a machine with a GPU.

The settings were chosen by the validation images; the test images are looked at once, at the end.
"""

from typing import Literal

from pydantic import Field
from torch import nn

from torchfinch.handler import Preprocessing
from torchfinch.training import Data, Loss
from torchfinch.training.datasets import FASHION_LABELS

from . import fashion
from .networks.resnet import ResNet


class Config(fashion.Config):
    """The settings; those that are not here are as in `fashion`."""

    epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=0.2, gt=0)
    ema: float = Field(default=0.997, ge=0, lt=1)
    loss: Loss = Loss(label_smoothing=0.05)
    sampling: Literal["shuffled", "balanced", "doubtful"] = "shuffled"
    share: float = Field(default=1, gt=0, le=1)
    device: str = Field(default="cuda", pattern=r"^(cpu|cuda(:\d+)?)$")
    amp: Literal["off", "bf16", "fp16"] = "bf16"
    width: int = Field(default=64, ge=1, description="channels of the first stage; the last one has four times as many")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="share of features hidden from the last layer")
    hidden: int = Field(default=8, ge=0, le=28, description="side of the square that is hidden in a training image")


def build(config: Config) -> tuple[Data, nn.Module, Preprocessing]:
    """The images in three parts, the network with its first weights, and what is done to an image."""
    network = ResNet(len(FASHION_LABELS), 1, config.width, config.dropout)
    return fashion.images(config.hidden), network, fashion.PREPROCESSING
