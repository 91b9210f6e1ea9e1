"""Random changes of training images: torchvision's, applied to each image of a uint8 batch apart."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2

from torchfinch.training.data import Augment, Data
from torchfinch.training.settings import Augmentation

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Normalised pixels (N, C, H, W) and classes (N,) to blended pixels and shares of classes (N, K)."""


def augment_of(settings: Augmentation, data: Data) -> Augment | None:
    """What `settings.policy` names: the recipe's own augmentation, none, or one of torchvision's."""
    if settings.policy == "recipe":
        return data.augment
    if settings.policy == "none":
        return None
    if settings.policy == "standard":
        assert data.train is not None
        return each(standard(data.train.pixels.shape[-2:]))
    return each(v2.RandAugment() if settings.policy == "randaugment" else v2.TrivialAugmentWide())


def standard(size: tuple[int, int] | torch.Size) -> v2.Transform:
    """Mirror, turn by 15 degrees, change colours, and crop 80 to 100 % of the area to `size` (height, width)."""
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(p=0.5),
            v2.RandomRotation(degrees=15, interpolation=v2.InterpolationMode.BILINEAR),
            v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1),
            v2.RandomResizedCrop(tuple(size), scale=(0.8, 1.0), antialias=True),
        ]
    )


def each(transform: Callable[[Tensor], Tensor]) -> Augment:
    """A torchvision transform of one image as an augmentation of a batch, its chance drawn from the generator."""

    def augment(pixels: Tensor, chance: torch.Generator) -> Tensor:
        with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's own generator
            torch.manual_seed(int(torch.randint(2**62, (), generator=chance)))
            return torch.stack([transform(image) for image in pixels])

    return augment


def mirror_and_shift(pixels: Tensor, chance: torch.Generator, *, most: int = 2) -> Tensor:
    """Mirror half of the images, and shift each by up to `most` pixels either way; what comes in is black."""
    count, _, height, width = pixels.shape
    mirrored = torch.rand(count, 1, 1, 1, generator=chance) < 0.5
    padded = functional.pad(torch.where(mirrored, pixels.flip(-1), pixels), (most,) * 4)
    down, across = torch.randint(2 * most + 1, (2, count, 1), generator=chance)
    rows, columns = down + torch.arange(height), across + torch.arange(width)
    picked = padded[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (N, H, W, C)
    return picked.permute(0, 3, 1, 2)


def cutout(pixels: Tensor, chance: torch.Generator, *, size: int = 8) -> Tensor:
    """Hide a square of `size` pixels, centred anywhere, behind black in each image (DeVries and Taylor 2017)."""
    count, _, height, width = pixels.shape
    rows, columns = (_window(length, count, chance, size=size) for length in (height, width))
    return pixels.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0)


def _window(length: int, count: int, chance: torch.Generator, *, size: int) -> Tensor:
    """Which of `length` places lie in a window of `size` around a random one, shape (count, length)."""
    offset = torch.arange(length) - torch.randint(length, (count, 1), generator=chance) + size // 2
    return (offset >= 0) & (offset < size)


def mix_of(settings: Augmentation, *, classes: int) -> Mix | None:
    """Mixup (Zhang et al. 2018), CutMix (Yun et al. 2019), either by the toss of a coin, or none."""
    mixes = [
        kind(num_classes=classes, alpha=alpha)
        for kind, alpha in ((v2.MixUp, settings.mixup), (v2.CutMix, settings.cutmix))
        if alpha
    ]
    return v2.RandomChoice(mixes) if mixes else None
