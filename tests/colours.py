"""A real model small enough for every test: it tells red, green and blue images apart by their mean colour."""

import json
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from torchfinch.handler import Preprocessing, open_image, safetensors
from torchfinch.testing import encode_image

NETWORK = '''
import torch
from torch import nn


class ColourNet(nn.Module):
    """Logits from the mean of each channel, after a convolution that changes nothing."""

    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.sharpness = sharpness

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).mean(dim=(2, 3)) * self.sharpness
'''
LABELS = ["red", "green", "blue"]
PREPROCESSING = Preprocessing(size=(16, 16), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
SHARPNESS = 2.0


def colour_image(name: str, size: tuple[int, int] = (24, 24), file_format: str = "PNG") -> bytes:
    """The bytes of an image of one colour."""
    return encode_image(Image.new("RGB", size, name), file_format)


def colour_probabilities(body: bytes) -> Tensor:
    """What the colour network must answer, computed without any serving code: shape (3,)."""
    pixels = PREPROCESSING(open_image(body))
    return (pixels.mean(dim=(1, 2)) * SHARPNESS).softmax(dim=0)


def write_colour_run(folder: Path, *, sharpness: float = SHARPNESS) -> Path:
    """Write a run folder as training leaves it."""
    (folder / "golden").mkdir(parents=True)
    (folder / "model.py").write_text(NETWORK)
    weights = {"conv.weight": torch.eye(3).reshape(3, 3, 1, 1), "conv.bias": torch.zeros(3)}
    safetensors.save(weights, folder / "weights.safetensors")
    described = {
        "network": {"class": "ColourNet", "arguments": {"sharpness": sharpness}},
        "labels": LABELS,
        "preprocessing": PREPROCESSING.to_dict(),
        "top_k": 2,
        "lineage": {"recipe": "colours", "metrics": {"test_accuracy": 1.0}, "data_digest": "0" * 64},
    }
    (folder / "model.json").write_text(json.dumps(described))
    golden = []
    for index, name in enumerate(LABELS):
        body = colour_image(name)
        (folder / "golden" / f"{name}.png").write_bytes(body)
        probabilities = (PREPROCESSING(open_image(body)).mean(dim=(1, 2)) * sharpness).softmax(dim=0)
        expected = {"predicted_class": index, "probabilities": {name: float(probabilities[index])}}
        golden.append({"file": f"{name}.png", "expected": expected})
    (folder / "golden" / "golden.json").write_text(json.dumps(golden))
    return folder
