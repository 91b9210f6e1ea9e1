"""Settings that would mean nothing for the data at hand are refused, and never ignored."""

from typing import Any

import pytest
import torch
from training.helpers import Linear, fitted

from torchfinch.errors import TorchfinchError
from torchfinch.training import Data, Images


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sampling": "balanced"}, "sampling=balanced is for classes, .*--set sampling=shuffled"),
        ({"augmentation": {"mixup": 0.2}}, r"augmentation\.mixup=0\.2 is for classes, and the recipe predicts numbers"),
        ({"augmentation": {"cutmix": 1}}, r"augmentation\.cutmix=1\.0 is for classes"),
        (
            {"loss": {"name": "mse", "label_smoothing": 0.1}},
            r"loss\.label_smoothing=0\.1 .*--set loss\.label_smoothing=0",
        ),
        ({"loss": {"name": "mse", "class_weights": "balanced"}}, r"loss\.class_weights=balanced .*class_weights=none"),
    ],
)
def test_what_is_for_classes_is_refused_where_numbers_are_predicted(values: dict[str, Any], said: str) -> None:
    numbers = Images(torch.zeros(30, 1, 2, 2).byte(), torch.zeros(30, 1))
    data = Data(labels=("size",), train=numbers, validation=numbers)
    with pytest.raises(TorchfinchError, match=said):
        fitted(Linear(outputs=1), data, **{"loss": {"name": "mse"}, **values})


@pytest.mark.parametrize(
    ("values", "said"),
    [({"share": 0.5, "augmentation": {"mixup": 0.2}}, "mixup or cutmix"), ({"share": 1}, "share=1 is all of them")],
)
def test_doubt_that_makes_no_sense_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(TorchfinchError, match=said):
        fitted(sampling="doubtful", **values)
