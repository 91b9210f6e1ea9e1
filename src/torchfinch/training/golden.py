"""Golden requests: a few image files with the answers that every server of the model must give.

The answers are worked out from the files' bytes by the classes that serve them, with the network built from the run
folder, so they also prove that the folder is enough to serve the model.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from torchfinch.errors import TorchfinchError
from torchfinch.handler import Archive, ArchiveError, HandlerError, open_image
from torchfinch.training.data import Data

_MOST = 10


def golden_files(data: Data) -> dict[str, bytes]:
    """File name to bytes: the recipe's own files, else a PNG of one test image of each of the first ten classes.

    Where numbers are predicted, those are the first ten test images.
    """
    if data.golden or data.test is None:
        return dict(data.golden)
    if not data.test.classified:
        return {f"{number}.png": _png(pixels) for number, pixels in enumerate(data.test.pixels[:_MOST])}
    numbers, targets = range(min(len(data.labels), _MOST)), data.test.targets.tolist()
    return {f"{number}.png": _png(data.test.pixels[targets.index(number)]) for number in numbers if number in targets}


def golden_requests(files: Mapping[str, bytes], run: Path, *, described: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries of `golden.json`, by the network of the run folder, `described` being its `model.json`.

    Raises:
        TorchfinchError: the run folder's network cannot be built, or a file is no image.
    """
    manifest = {"model": {"modelFile": "model.py", "serializedFile": "weights.safetensors"}}
    archive = Archive(run, manifest=manifest, config={"handler": described})
    try:
        network = archive.network()
    except ArchiveError as error:
        raise TorchfinchError(f"the network cannot be built again from {run.name}: {error}") from error
    entries = []
    for name, body in files.items():
        try:
            pixels = archive.preprocessing(open_image(body))
        except HandlerError as error:
            raise TorchfinchError(f"the golden file {name}: {error}") from error
        with torch.inference_mode():
            row = network(pixels.unsqueeze(0))[0]  # (K,)
        entries.append({"file": name, "expected": _answer(row, described)})
    return entries


def _answer(row: Tensor, described: Mapping[str, Any]) -> dict[str, Any]:
    labels = described["labels"]
    if described["task"] == "regression":
        return {"values": dict(zip(labels, row.tolist(), strict=True))}
    values, numbers = row.softmax(dim=0).topk(min(described["top_k"], len(labels)))
    best = zip(numbers.tolist(), values.tolist(), strict=True)
    return {"predicted_class": int(numbers[0]), "probabilities": {labels[number]: value for number, value in best}}


def _png(pixels: Tensor) -> bytes:
    height, width = pixels.shape[1:]
    image = Image.fromarray(pixels.permute(1, 2, 0).reshape(height, width, -1).squeeze(2).numpy())
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
