"""Images inside the report: a heatmap over its photo, for example."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from torchfinch.errors import TorchfinchError
from torchfinch.handler.images import upright

LONGEST_SIDE = 900
"""Pixels; a report is looked at, not measured."""
SMALLEST_SIDE = 240
"""Pixels; a digit of 8 by 8 is enlarged with its pixels visible."""


@dataclass(frozen=True)
class Picture:
    """An image as a `data:` address, so that the report stays one file."""

    address: str
    caption: str
    width: int
    height: int


def read_picture(source: tuple[Path, str | None]) -> Picture:
    """Read an image and bring it to a size that suits a page; the caption is the file's name where it is None.

    Raises:
        TorchfinchError: it is not there, or no image.
    """
    path, caption = source
    try:
        with Image.open(path) as image:
            return embed(
                upright(image), caption if caption is not None else path.stem.replace("-", " ").replace("_", " ")
            )
    except FileNotFoundError as error:
        raise TorchfinchError(f"{path} is not there", "--image FILE or --image FILE=caption") from error
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise TorchfinchError(f"{path} is no image: {error}", "--image takes PNG, JPEG and the like") from error


def embed(image: Image.Image, caption: str) -> Picture:
    """An image at a size that suits a page."""
    shown = _to_size(image.convert("RGBA" if "A" in image.getbands() else "RGB"))
    return Picture(address=_address(shown), caption=caption, width=shown.width, height=shown.height)


def _to_size(image: Image.Image) -> Image.Image:
    longest = max(image.size)
    if longest > LONGEST_SIDE:
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    elif longest < SMALLEST_SIDE:
        times = -(-SMALLEST_SIDE // longest)
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    return image


def _address(image: Image.Image) -> str:
    """The smaller of PNG and JPEG; PNG wherever something is transparent."""
    choices = {"png": _encode(image, "PNG", optimize=True)}
    if image.mode == "RGB":
        choices["jpeg"] = _encode(image, "JPEG", quality=88)
    kind = min(choices, key=lambda name: len(choices[name]))
    return f"data:image/{kind};base64,{base64.b64encode(choices[kind]).decode()}"


def _encode(image: Image.Image, form: str, **options: int | bool) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()
