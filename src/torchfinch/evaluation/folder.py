"""Test images from a folder with a folder for each class, read as serving reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from torchfinch.errors import TorchfinchError
from torchfinch.handler import HandlerError, Preprocessing, open_image


@dataclass(frozen=True, eq=False)
class FolderImages:
    """What could be read, and what could not."""

    pixels: Tensor
    """uint8, shape (N, C, H, W)."""
    targets: Tensor
    """int64, shape (N,)."""
    faults: tuple[str, ...]
    """A sentence on each file that is no image."""


def read_folder(folder: Path, *, labels: Sequence[str], preprocessing: Preprocessing) -> FolderImages:
    """The images of `folder/LABEL/`, at the size that the network takes; hidden files are passed over.

    Raises:
        TorchfinchError: a subfolder is named for no label, or there is no image.
    """
    strange = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name not in labels)
    if strange:
        raise TorchfinchError(
            f"{folder / strange[0]} is named for no class of the model", f"it knows {', '.join(labels[:20])}"
        )
    pixels, targets, faults = [], [], []
    for number, label in enumerate(labels):
        for path in sorted((folder / label).glob("*")):
            if path.name.startswith(".") or not path.is_file():
                continue
            try:
                pixels.append(preprocessing.pixels(open_image(path.read_bytes())))
                targets.append(number)
            except (HandlerError, OSError) as error:
                faults.append(f"{path}: {error}")
    if not pixels:
        raise TorchfinchError(f"{folder} holds no images", f"it needs a folder for each class, such as {labels[0]}/")
    return FolderImages(torch.stack(pixels), torch.tensor(targets), tuple(faults))
