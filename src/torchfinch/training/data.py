"""Images to learn from, as indexable tensors: cross-validation and tuning take their parts by index."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit, train_test_split
from torch import Tensor

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""Changes uint8 or float pixels 0..255 of shape (N, C, H, W) at random; all chance comes from the generator."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images with their classes or numbers; `images[index]` is a part of them."""

    pixels: Tensor
    """uint8, shape (N, C, H, W), at the size that the network takes."""
    targets: Tensor
    """int64, shape (N,): the number of each image's class; or float32, shape (N, K): the numbers to predict."""
    groups: Tensor | None = None
    """int64, shape (N,): images of one number, such as photos of one person, stay together in a part or a fold."""

    def __post_init__(self) -> None:
        if self.pixels.dtype != torch.uint8 or self.pixels.ndim != 4:
            raise ValueError(f"pixels are {_kind(self.pixels)}; give uint8 of shape (N, C, H, W)")
        kinds = {(torch.int64, 1), (torch.float32, 2)}
        count = len(self.pixels)
        if (self.targets.dtype, self.targets.ndim) not in kinds or len(self.targets) != count:
            raise ValueError(
                f"targets are {_kind(self.targets)}; give int64 of shape ({count},) or float32 of shape ({count}, K)"
            )
        if self.groups is not None and (self.groups.dtype, self.groups.shape) != (torch.int64, (count,)):
            raise ValueError(f"groups are {_kind(self.groups)}; give int64 of shape ({count},)")

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: Tensor | slice) -> "Images":
        return Images(self.pixels[index], self.targets[index], None if self.groups is None else self.groups[index])

    @property
    def classified(self) -> bool:
        """Whether the targets are classes."""
        return self.targets.dtype == torch.int64


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """All that a recipe learns from and is judged by; a recipe with nothing to fit gives labels and golden files."""

    labels: tuple[str, ...]
    """Names of the network's outputs, each once: of the classes, or of the numbers that it predicts."""
    train: Images | None = None
    """What the weights are fitted to. A part without images is `None`, whatever was given."""
    validation: Images | None = None
    """What the best epoch, and later hyperparameters, are chosen by."""
    test: Images | None = None
    """What the result is stated for; looked at once."""
    augment: Augment | None = None
    """Applied to each training batch."""
    golden: Mapping[str, bytes] = field(default_factory=dict)
    """File name to bytes of images for golden requests; empty: one test image of each of the first classes."""

    def __post_init__(self) -> None:
        doubles = [label for label, count in Counter(self.labels).items() if count > 1]
        if doubles or not self.labels:
            raise ValueError(f"labels must be unique, and these are not: {doubles}; unique_labels() numbers them")
        odd = [label for label in self.labels if label != label.encode(errors="ignore").decode()]
        if odd:
            raise ValueError(f"label {odd[0]!r} is no UTF-8; rename it, or the folder that it comes from")
        for part in ("train", "validation", "test"):
            images = getattr(self, part)
            if images is not None and len(images):
                _check_targets(images, len(self.labels))
            else:
                object.__setattr__(self, part, None)

    def digest(self) -> str | None:
        """The SHA-256 of the labels and of every image with its class; `None` where nothing is fitted."""
        if self.train is None:
            return None
        digest = hashlib.sha256("\n".join(self.labels).encode())
        for images in (self.train, self.validation, self.test):
            if images is not None:
                digest.update(_kind(images.pixels).encode())
                digest.update(images.pixels.contiguous().numpy().tobytes())
                digest.update(images.targets.contiguous().numpy().tobytes())
                digest.update(b"" if images.groups is None else images.groups.numpy().tobytes())
        return digest.hexdigest()


def split(images: Images, *, validation: float, test: float, seed: int) -> tuple[Images, Images, Images]:
    """Share images out into training, validation and test, with the same share of every class in each.

    `validation` and `test` are shares of all images, and may be 0; the rest is for training, and so is a class of one
    image. Images in groups are shared out by group, and then the shares of classes are left to chance.
    """
    places = split_places(images, torch.arange(len(images)), validation=validation, test=test, seed=seed)
    train_part, validation_part, test_part = (images[part] for part in places)
    return train_part, validation_part, test_part


def split_places(
    images: Images, index: Tensor, *, validation: float, test: float, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """`split` for the images at the places `index` (N,), as places, so that no pixel is copied."""
    kept, tested = _parted(images, index.numpy(), round(test * len(index)), seed=seed)
    trained, validated = _parted(images, kept, round(validation * len(index)), seed=seed)
    return torch.from_numpy(trained), torch.from_numpy(validated), torch.from_numpy(tested)


def unique_labels(names: Sequence[str]) -> tuple[str, ...]:
    """`names`, where a name that came before is followed by its class number: `crane`, `crane (517)`.

    Answers map label to probability, so two classes of one name would lose one of them.
    """
    labels: dict[str, None] = {}  # an ordered set
    for number, name in enumerate(names):
        label = name
        while label in labels:
            label = f"{label} ({number})"
        labels[label] = None
    return tuple(labels)


def _parted(images: Images, index: NDArray[np.int64], size: int, *, seed: int) -> list[NDArray[np.int64]]:
    chance = seed % 2**32  # what NumPy takes
    if not size:
        return [index, index[:0]]
    if images.groups is not None:
        groups = images.groups.numpy()[index]
        splitter = GroupShuffleSplit(1, test_size=size / len(index), random_state=chance)
        [(first, second)] = splitter.split(index, groups=groups)
        return [index[first], index[second]]
    if not images.classified:
        return list(train_test_split(index, test_size=size, random_state=chance))
    classes = images.targets.numpy()[index]
    single = np.bincount(classes)[classes] == 1
    first, second = train_test_split(index[~single], test_size=size, stratify=classes[~single], random_state=chance)
    return [np.concatenate([first, index[single]]), second]


def _check_targets(images: Images, labels: int) -> None:
    targets = images.targets
    if not images.classified:
        if targets.shape[1] != labels or not targets.isfinite().all():
            raise ValueError(f"targets are {_kind(targets)}; give a finite number for each of the {labels} labels")
    elif not 0 <= int(targets.min()) <= int(targets.max()) < labels:
        wrong = int(((targets < 0) | (targets >= labels)).nonzero()[0])
        raise ValueError(f"targets reach {int(targets[wrong])}, but there are {labels} labels (image {wrong})")


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
