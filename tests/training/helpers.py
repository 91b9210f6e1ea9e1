"""A small network and small data for the loop's tests: noise whose left or right half is brighter."""

import gzip
import struct
from pathlib import Path
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


def installed(folder: Path, *, train: int = 3, test: int = 2) -> Path:
    """The four files of Fashion-MNIST with so few images; their classes are 9, 0, 1, and so on."""
    for part, count in (("train", train), ("t10k", test)):
        pixels = struct.pack(">4B3i", 0, 0, 8, 3, count, 28, 28) + bytes(range(256))[:28] * 28 * count
        classes = struct.pack(">4Bi", 0, 0, 8, 1, count) + bytes((9 + number) % 10 for number in range(count))
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(pixels))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(classes))
    return folder


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
