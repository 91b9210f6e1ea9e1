"""What a network gives is compared with what its labels need, and a loss that is no number with where it arose."""

import math

import pytest
import torch
from torch import Tensor, nn
from training.helpers import DATA, Linear, fitted, halves

from torchfinch.errors import TorchfinchError
from torchfinch.training import Data, Images


class Twice(nn.Module):
    """Gives its scores and something beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Linear()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.layers(images)
        return scores, scores


class OverflowsWhenJudged(Linear):
    """Gives no number where an image is black and the network is in evaluation mode."""

    def forward(self, images: Tensor) -> Tensor:
        scores = super().forward(images)
        return scores if self.training else scores / (images > -1).flatten(1).any(dim=1, keepdim=True)


@pytest.mark.parametrize(
    ("network", "found"),
    [(Linear(outputs=3), r"\(16, 3\)"), (Linear(outputs=1), r"\(16, 1\)"), (Twice(), "tuple")],
    ids=["more outputs", "fewer outputs", "no tensor"],
)
def test_outputs_that_are_not_one_for_each_class_are_told_at_the_first_batch(network: nn.Module, found: str) -> None:
    with pytest.raises(TorchfinchError, match=rf"outputs are {found}, and 16 images with 2 labels need \(16, 2\)"):
        fitted(network)


def test_numbers_in_a_row_are_not_spread_over_targets_in_a_column() -> None:
    images = Images(halves(60, 0).pixels, torch.rand(60, 1))
    data = Data(labels=("brightness",), train=images, validation=images)

    with pytest.raises(TorchfinchError, match=r"outputs are \(20,\), and 20 images with 1 labels need \(20, 1\)"):
        fitted(nn.Sequential(Linear(outputs=1), nn.Flatten(0)), data, loss={"name": "mse"})


def test_a_validation_loss_that_is_no_number_names_the_batch_and_its_images() -> None:
    validation = halves(40, 1)
    validation.pixels[35] = 0
    data = Data(labels=DATA.labels, train=DATA.train, validation=validation)

    with pytest.raises(
        TorchfinchError,
        match=r"became (nan|inf) in epoch 1, validation batch 5 of 5 \(images 32, 33, 34, 35, 36, \.\.\.\)",
    ):
        fitted(OverflowsWhenJudged(dropout=0), data, batch_size=2)
    assert math.isfinite(fitted(OverflowsWhenJudged(dropout=0))[1][-1].validation_loss)
