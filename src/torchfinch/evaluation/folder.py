"""Images from a folder with a folder for each class, read as serving reads them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
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
    paths: tuple[Path, ...]
    """The file of each image."""
    faults: tuple[str, ...]
    """A sentence on each file that is no image."""


def read_folder(folder: Path, *, labels: Sequence[str], preprocessing: Preprocessing) -> FolderImages:
    """The images of `folder/LABEL/`, however deep, at the size that the network takes; what is hidden is passed over.

    Raises:
        TorchfinchError: a subfolder is named for no label, there is no image, or they do not fit into memory.
    """
    strange = [name for name in class_folders(folder) if name not in labels]
    if strange:
        raise TorchfinchError(
            f"{folder / strange[0]} is named for no class of the model", f"it knows {', '.join(labels[:20])}"
        )
    found = [(path, number) for number, label in enumerate(labels) for path in _files(folder / label)]
    _check_memory(folder, len(found), preprocessing)
    with ThreadPoolExecutor() as pool:  # Pillow decodes outside Python's lock
        read = list(pool.map(lambda each: _read(each[0], preprocessing), found))
    whole = [(path, target, pixels) for (path, target), pixels in zip(found, read, strict=True) if _is(pixels)]
    if not whole:
        raise TorchfinchError(f"{folder} holds no images", f"it needs a folder for each class, such as {labels[0]}/")
    paths, targets, pixels = zip(*whole, strict=True)
    faults = tuple(fault for fault in read if isinstance(fault, str))
    return FolderImages(torch.stack(pixels), torch.tensor(targets), paths, faults)


def class_folders(folder: Path) -> list[str]:
    """Names of the folders in `folder`, in their order; hidden ones are passed over.

    Raises:
        TorchfinchError: there is no such folder.
    """
    try:
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise TorchfinchError(f"{folder} cannot be read: {error.strerror}", "name a folder of images") from error


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not _hidden(path.relative_to(folder)))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _read(path: Path, preprocessing: Preprocessing) -> Tensor | str:
    try:
        return preprocessing.pixels(open_image(path.read_bytes()))
    except (HandlerError, OSError) as error:
        return f"{path}: {error}"


def _is(read: Tensor | str) -> bool:
    return isinstance(read, Tensor)


def _check_memory(folder: Path, count: int, preprocessing: Preprocessing) -> None:
    height, width = preprocessing.size
    needed = 2 * count * preprocessing.channels * height * width  # as they are read, and in one tensor
    free = psutil.virtual_memory().available
    if needed > free:
        raise TorchfinchError(
            f"{folder}: {count} images of {height} x {width} pixels need {needed / 1e9:.1f} GB of memory, and"
            f" {free / 1e9:.1f} GB are free",
            "take fewer images, or smaller ones",
        )
