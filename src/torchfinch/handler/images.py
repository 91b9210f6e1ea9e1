"""From bytes to an RGB image, refusing what is too large before any of it is decoded."""

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from torchfinch.handler.errors import BadRequest, TooLarge, UnsupportedMedia
from torchfinch.handler.preprocessing import frozen

warnings.filterwarnings("ignore", module=r"PIL\.")  # of sizes and broken EXIF; for good, since threads open images

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
_FOREIGN = {b"%PDF": "PDF", b"8BPS": "PSD", b"<svg": "SVG", b"<?xml": "SVG or XML", b"\x00\x00\x01\x00": "ICO"}
_OURS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"BM": "BMP", b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
"""What Pillow would decode, for archives that allow fewer formats."""
_HEIF_BRANDS = {b"hei": "HEIC", b"hev": "HEIC", b"mif": "HEIF", b"msf": "HEIF", b"avi": "AVIF"}
"""By the first three letters; the fourth tells profiles, and images from sequences."""


@dataclass(frozen=True)
class Limits:
    """What an archive accepts as an image and as a request, and how much it answers."""

    max_bytes: int = 10_000_000
    """Bytes of one encoded image."""
    max_pixels: int = 40_000_000
    """Width times height, read from the header before decoding; Pillow opens at most about 179 million."""
    max_images: int = 256
    """Images of one request."""
    max_answer_bytes: int = 6_553_500
    """Bytes of one answer; more than TorchServe's `max_response_size`, whose default this is, would end the worker."""
    formats: tuple[str, ...] = FORMATS
    """Pillow's names of the formats that are decoded."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read limits from an archive's configuration; what is left out keeps its default."""
        return cls(**frozen(data))


def open_image(body: bytes, limits: Limits | None = None) -> Image.Image:
    """Decode an image to RGB: upright by its EXIF orientation, first frame, alpha over white, 16 bits to 8.

    Raises:
        BadRequest: the bytes are no image, or a broken one.
        TooLarge: more bytes or pixels than `limits` allow.
        UnsupportedMedia: a format that `limits` do not allow.
    """
    limits = limits or Limits()
    if not body:
        raise BadRequest("the body is empty; send the bytes of an image")
    if len(body) > limits.max_bytes:
        raise TooLarge(f"the image has {len(body)} bytes; send at most {limits.max_bytes}")
    try:
        image = _identify(body, limits)
        image.load()
        return _to_rgb(upright(image))
    except (BadRequest, TooLarge, UnsupportedMedia):
        raise
    except MemoryError as error:
        raise TooLarge("the image does not fit into memory; send a smaller one") from error
    except Exception as error:
        raise BadRequest(f"the image cannot be decoded ({error}); send an undamaged file") from error


def _identify(body: bytes, limits: Limits) -> Image.Image:
    accepted = ", ".join(limits.formats)
    try:
        image = Image.open(io.BytesIO(body), formats=limits.formats)
    except Image.DecompressionBombError as error:
        most = min(limits.max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or limits.max_pixels))
        raise TooLarge(f"the image has more than {most} pixels; send a smaller one") from error
    except UnidentifiedImageError as error:
        claimed = _claimed_format(bytes(body[:12]))
        if claimed in limits.formats:
            raise BadRequest(f"the {claimed} image is damaged; send an undamaged file") from error
        if claimed:
            raise UnsupportedMedia(f"the image is {claimed}; send one of {accepted}") from error
        start = bytes(body[:8]).hex(" ")
        raise BadRequest(f"{len(body)} bytes starting {start} are no image; send one of {accepted}") from error
    width, height = image.size
    if width * height > limits.max_pixels:
        raise TooLarge(f"the image is {width}x{height} pixels; send at most {limits.max_pixels} pixels")
    return image


def _claimed_format(start: bytes) -> str | None:
    """The format that a file of this start stands for."""
    if start[4:8] == b"ftyp":
        return _HEIF_BRANDS.get(start[8:11])
    if start[:4] == b"RIFF":  # sound and films are RIFF too
        return "WEBP" if start[8:] == b"WEBP" else None
    return next((name for magic, name in {**_FOREIGN, **_OURS}.items() if start.startswith(magic)), None)


def upright(image: Image.Image) -> Image.Image:
    """Turn an image by its EXIF orientation."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - a broken EXIF block does not spoil the pixels
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _deep_grey(image).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    # 16-bit files hold 0..65535, float files 0..1 or 0..255; Pillow's own conversion clips them to white.
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    top = float(values.max(initial=0.0))
    scale = 255.0 if image.mode == "F" and top <= 1 else 1 / 257 if image.mode.startswith("I;16") or top > 255 else 1.0
    return Image.fromarray(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8))
