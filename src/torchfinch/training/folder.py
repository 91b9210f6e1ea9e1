"""A folder of images as data to learn from: shared out, counted, and without the images that would spoil it."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from torchfinch.errors import TorchfinchError
from torchfinch.evaluation.folder import FolderImages, class_folders, read_folder
from torchfinch.handler import Preprocessing
from torchfinch.training.data import Augment, Data, Images, split

_PARTS = ("train", "validation", "test")


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

    Where `folder` has the folders `train`, `validation` and `test` instead, they are the parts. The images lie in
    memory as uint8 at the size that the network takes. An image whose pixels came before is left out, so that none is
    both learnt and tested.

    Raises:
        TorchfinchError: there are fewer than two classes, one has too few images, or they do not fit into memory.
    """
    names = class_folders(folder)
    given = set(_PARTS) <= set(names)
    labels = class_folders(folder / "train") if given else names
    if len(labels) < 2:
        raise TorchfinchError(
            f"{folder} holds {len(labels)} folders of images, and telling classes apart takes two",
            "lay the images into a folder for each class",
        )
    roots = [folder / part for part in _PARTS] if given else [folder]
    read = [read_folder(root, labels=labels, preprocessing=preprocessing) for root in roots]
    kept, duplicates, contradictions = _unlike(read)
    whole = [Images(part.pixels[index], part.targets[index]) for part, index in zip(read, kept, strict=True)]
    parts = tuple(whole) if given else _shared(folder, whole[0], labels, validation=validation, test=test, seed=seed)
    report = FolderReport(
        {label: _counts(parts, number) for number, label in enumerate(labels)},
        duplicates,
        contradictions,
        tuple(fault for part in read for fault in part.faults),
    )
    train, validated, tested = parts
    return Data(labels=tuple(labels), train=train, validation=validated, test=tested, augment=augment), report


def _shared(
    folder: Path, images: Images, labels: list[str], *, validation: float, test: float, seed: int
) -> tuple[Images, Images, Images]:
    counts = torch.bincount(images.targets, minlength=len(labels))
    if int(counts.min()) < 3:
        label = labels[int(counts.argmin())]
        raise TorchfinchError(
            f"{folder / label} holds {int(counts.min())} images; a class needs three, one for each part",
            "add images, or drop the class",
        )
    try:
        return split(images, validation=validation, test=test, seed=seed)
    except ValueError as error:
        raise TorchfinchError(f"{folder} is too small to share out: {error}", "add images, or larger shares") from error


def _unlike(
    read: list[FolderImages],
) -> tuple[list[torch.Tensor], tuple[tuple[Path, Path], ...], tuple[tuple[Path, Path], ...]]:
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


def _counts(parts: tuple[Images, ...], number: int) -> tuple[int, int, int]:
    train, validation, test = (int((part.targets == number).sum()) for part in parts)
    return train, validation, test


def _some(lines: list[str], most: int) -> Iterator[str]:
    yield from lines[:most]
    if len(lines) > most:
        yield f"... and {len(lines) - most} more"
