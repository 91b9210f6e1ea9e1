"""A folder of images as data to learn from: shared out, counted, and without the images that would spoil it."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from torchfinch.console import err
from torchfinch.errors import TorchfinchError
from torchfinch.evaluation.folder import FolderImages, class_folders, read_folder
from torchfinch.handler import Preprocessing
from torchfinch.training.data import Augment, Data, Images, split_places
from torchfinch.training.runtime import rank

_PARTS = {"train": ("train",), "validation": ("validation", "val", "valid"), "test": ("test",)}
"""The parts, and how their folders are usually called."""


@dataclass(frozen=True)
class FolderReport:
    """What was found in a folder of images."""

    counts: dict[str, tuple[int, int, int]]
    """For each class its images for training, validation and test."""
    duplicates: tuple[tuple[Path, Path], ...]
    """An image that is left out, and the one before it with the same pixels."""
    contradictions: tuple[tuple[Path, Path], ...]
    """Two images with the same pixels in two classes; both are left out."""
    faults: tuple[str, ...]
    """A sentence on each file that is no image."""

    def lines(self, most: int = 5) -> Iterator[str]:
        """What a person should read, at most `most` lines of each kind of trouble."""
        for label, counts in self.counts.items():
            parts = ", ".join(f"{count} {part}" for count, part in zip(counts, _PARTS, strict=True))
            yield f"{label}: {sum(counts)} images ({parts})"
        yield from _some([f"left out, no image: {fault}" for fault in self.faults], most)
        yield from _some([f"left out: {path} is {first} again" for path, first in self.duplicates], most)
        lines = [f"left out: {path} and {first} are one image in two classes" for path, first in self.contradictions]
        yield from _some(lines, most)


def image_folder(
    folder: Path,
    *,
    preprocessing: Preprocessing,
    validation: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    augment: Augment | None = None,
) -> tuple[Data, FolderReport]:
    """The images of `folder/CLASS/`, shared out at random with the same share of every class in each part.

    Where `folder` has the folders `train` and `validation` (or `val`) or `test` instead, they are the parts; one that
    is not there is cut from `train`. The images lie in memory as uint8 at the size that the network takes. An image
    whose pixels came before is left out, so that none is both learnt and tested. The report is told on stderr.

    A second call with the same arguments gives the same tensors and tells nothing, until a file changes.

    Raises:
        TorchfinchError: there are fewer than two classes, one has too few images, a folder is neither a part nor a
            class, or the images do not fit into memory.
    """
    data, report = _read(folder, _stamp(folder), preprocessing, validation=validation, test=test, seed=seed)
    return replace(data, augment=augment), report


@lru_cache(maxsize=1)
def _read(
    folder: Path, _state: int, preprocessing: Preprocessing, *, validation: float, test: float, seed: int
) -> tuple[Data, FolderReport]:
    roots = _roots(folder)
    labels = class_folders(roots["train"])
    if len(labels) < 2:
        raise TorchfinchError(
            f"{folder} holds {len(labels)} folders of images, and telling classes apart takes two",
            "lay the images into a folder for each class",
        )
    read = [read_folder(root, labels=labels, preprocessing=preprocessing) for root in roots.values()]
    kept, duplicates, contradictions = _unlike(read)
    faults = tuple(fault for part in read for fault in part.faults)
    shares = {part: share for part, share in (("validation", validation), ("test", test)) if part not in roots}
    parts = _shared_out(read, kept, roots, labels, shares=shares, seed=seed)
    counts = {label: _counts(parts, number) for number, label in enumerate(labels)}
    report = FolderReport(counts, duplicates, contradictions, faults)
    for line in [] if rank() else report.lines():
        err.print(line, markup=False, soft_wrap=True)
    train, validated, tested = (parts[part] for part in _PARTS)
    return Data(labels=tuple(labels), train=train, validation=validated, test=tested), report


def _stamp(folder: Path) -> int:
    """Another number where the folder is another one, or a file in it has changed."""
    files = sorted((str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*"))
    return hash((folder.absolute(), tuple(files)))


def _roots(folder: Path) -> dict[str, Path]:
    """Where each part that is given lies; `train` is the whole folder where none is."""
    names = class_folders(folder)
    known = {part: folder / name for part, usual in _PARTS.items() for name in usual if name in names}
    if "train" not in known or len(known) == 1:
        return {"train": folder}
    odd = [name for name in names if folder / name not in known.values()]
    if odd:
        raise TorchfinchError(
            f"{folder} holds {', '.join(path.name for path in known.values())}, which are parts, and {odd[0]}",
            "move it away: beside train there may be validation (or val) and test",
        )
    return known


def _shared_out(
    read: list[FolderImages],
    kept: list[Tensor],
    roots: Mapping[str, Path],
    labels: list[str],
    *,
    shares: Mapping[str, float],
    seed: int,
) -> dict[str, Images]:
    """The images of each part; `read` is emptied, so that memory holds the images of one folder twice, and no more."""
    parts: dict[str, Images] = {}
    for (part, root), index in zip(roots.items(), kept, strict=True):
        images = read.pop(0)
        whole = Images(images.pixels, images.targets)
        places = _cut(root, whole, index, labels, shares=shares, seed=seed) if part == "train" else {part: index}
        parts |= {name: whole[place] for name, place in places.items()}
    return parts


def _cut(
    folder: Path, images: Images, index: Tensor, labels: list[str], *, shares: Mapping[str, float], seed: int
) -> dict[str, Tensor]:
    """Places of the images of each part: those that `shares` names, and `train`, which is the rest of `index`."""
    if not shares:
        return {"train": index}
    counts, needed = torch.bincount(images.targets[index], minlength=len(labels)), 1 + len(shares)
    if int(counts.min()) < needed:
        label = labels[int(counts.argmin())]
        raise TorchfinchError(
            f"{folder / label} holds {int(counts.min())} images; a class needs {needed}, one for each part",
            "add images, or drop the class",
        )
    given = {part: shares.get(part, 0) for part in ("validation", "test")}
    try:
        places = split_places(images, index, **given, seed=seed)
    except ValueError as error:
        raise TorchfinchError(f"{folder} is too small to share out: {error}", "add images, or larger shares") from error
    return {part: place for part, place in zip(_PARTS, places, strict=True) if part == "train" or part in shares}


def _unlike(
    read: list[FolderImages],
) -> tuple[list[Tensor], tuple[tuple[Path, Path], ...], tuple[tuple[Path, Path], ...]]:
    """Which images of each part to keep, the doubles within a class, and those in two classes."""
    seen: dict[bytes, list[tuple[int, int]]] = defaultdict(list)
    for part, images in enumerate(read):
        for number, pixels in enumerate(images.pixels):
            seen[hashlib.sha256(pixels.numpy().tobytes()).digest()].append((part, number))
    kept: list[list[int]] = [[] for _ in read]
    doubles: tuple[list[tuple[Path, Path]], list[tuple[Path, Path]]] = ([], [])
    for (part, number), *others in seen.values():
        first = read[part].paths[number]
        torn = [read[p].targets[n] != read[part].targets[number] for p, n in others]
        if not any(torn):
            kept[part].append(number)
        doubles[any(torn)].extend((read[p].paths[n], first) for p, n in others)
    return [torch.tensor(numbers, dtype=torch.long) for numbers in kept], tuple(doubles[0]), tuple(doubles[1])


def _counts(parts: Mapping[str, Images], number: int) -> tuple[int, int, int]:
    train, validation, test = (int((parts[part].targets == number).sum()) for part in _PARTS)
    return train, validation, test


def _some(lines: list[str], most: int) -> Iterator[str]:
    yield from lines[:most]
    if len(lines) > most:
        yield f"... and {len(lines) - most} more"
