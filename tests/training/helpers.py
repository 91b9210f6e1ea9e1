"""A small network and small data for the loop's tests: noise whose left or right half is brighter."""

from typing import Any

import torch
from torch import Tensor, nn

from torchfinch.handler import Preprocessing
from torchfinch.training import Checkpoints, Data, Epoch, FitSettings, Images, fit

GREY = Preprocessing(size=(2, 2), mode="L", mean=(0.5,), std=(0.5,))


class Small(nn.Module):
    """A convolution, batch statistics, and a linear layer; with dropout, so that chance matters."""

    def __init__(self, outputs: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 3, 2, bias=False), nn.BatchNorm2d(3), nn.ReLU())
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(3, outputs))

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.features(images))
        return scores


class Linear(nn.Module):
    """One linear layer, and dropout."""

    def __init__(self, outputs: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(4, outputs))

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.layers(images)
        return scores


def halves(samples: int, seed: int, *, rare: int | None = None) -> Images:
    """Noise whose left (class 0) or right (class 1) half is brighter; `rare` images of class 1, else half of all."""
    chance = torch.Generator().manual_seed(seed)
    targets = torch.arange(samples) % 2 if rare is None else (torch.arange(samples) < rare).long()
    pixels = torch.randint(0, 200, (samples, 1, 2, 2), generator=chance, dtype=torch.uint8)
    for image, side in zip(pixels, targets.tolist(), strict=True):
        image[0, :, side] += 55
    return Images(pixels, targets)


DATA = Data(labels=("left", "right"), train=halves(61, 0), validation=halves(40, 1))


def fitted(
    model: nn.Module | None = None,
    data: Data = DATA,
    *,
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
    **values: Any,
) -> tuple[nn.Module, list[Epoch]]:
    """A network, `Linear` if none is given, fitted from the first weights of seed 0."""
    if model is None:
        torch.manual_seed(0)
        model = Linear()
    settings = FitSettings.model_validate({"epochs": 3, "batch_size": 20, **values})
    history = fit(model, data, preprocessing=GREY, settings=settings, checkpoints=checkpoints, resume=resume)
    return model, history


def flat(model: nn.Module) -> Tensor:
    """All weights and buffers in one row."""
    return torch.cat([tensor.detach().double().flatten() for tensor in model.state_dict().values()])
