"""The chain `standard`: what the requirement lists, and what it does to images."""

import torch
from torch import Tensor
from torchvision.transforms import v2

from torchfinch.training import each, standard

DARK, BRIGHT = torch.tensor([60, 90, 120]), torch.tensor([180, 150, 200])


def changed(count: int = 200) -> Tensor:
    """Images of 32 x 32 pixels, dark on the left and bright on the right, after the chain; shape (count, 3, 32, 32)."""
    image = torch.cat([DARK[:, None].repeat(1, 16), BRIGHT[:, None].repeat(1, 16)], dim=1)
    pixels = image[:, None].repeat(1, 32, 1).byte().expand(count, -1, -1, -1)
    return each(standard((32, 32)))(pixels, torch.Generator().manual_seed(0))


def test_the_chain_is_the_requirements() -> None:
    flip, turn, colour, crop = standard((224, 224)).transforms

    assert isinstance(flip, v2.RandomHorizontalFlip)
    assert flip.p == 0.5
    assert isinstance(turn, v2.RandomRotation)
    assert turn.degrees == [-15, 15]
    assert isinstance(colour, v2.ColorJitter)
    assert (colour.brightness, colour.contrast, colour.saturation) == ((0.8, 1.2),) * 3
    assert colour.hue == (-0.1, 0.1)
    assert isinstance(crop, v2.RandomResizedCrop)
    assert (crop.size, crop.scale) == ((224, 224), (0.8, 1.0))


def test_images_stay_images_of_their_size() -> None:
    pixels = changed()

    assert (pixels.dtype, pixels.shape) == (torch.uint8, (200, 3, 32, 32))


def test_half_of_the_images_are_mirrored() -> None:
    middle = changed().float().mean(dim=1)[:, 12:20]  # (200, 8, 32)
    mirrored = middle[:, :, 4:12].mean(dim=(1, 2)) > middle[:, :, 20:28].mean(dim=(1, 2))

    assert 0.4 < mirrored.float().mean() < 0.6


def test_images_are_turned_either_way() -> None:
    pixels = changed().float().mean(dim=1)
    leaning = pixels[:, 6:10].mean(dim=(1, 2)) - pixels[:, 22:26].mean(dim=(1, 2))

    assert (leaning > 5).float().mean() > 0.1
    assert (leaning < -5).float().mean() > 0.1


def test_colours_change() -> None:
    middle = changed()[:, :, 16, (8, 24)].float()  # (200, 3, 2)

    assert (middle.std(dim=0) > 5).all()
    assert len(middle.unique(dim=0)) > 150


def test_a_crop_keeps_most_of_an_image_and_seldom_all() -> None:
    crop = standard((32, 32)).transforms[-1]
    ramp = torch.arange(32, dtype=torch.uint8).mul(8).expand(3, 32, 32)
    torch.manual_seed(0)
    widths = torch.tensor([int(cropped.max()) - int(cropped.min()) for cropped in (crop(ramp) for _ in range(200))])

    assert widths.min() > 0.7 * 248
    assert (widths < 0.95 * 248).float().mean() > 0.25
