"""From an image to the tensor a network takes: plain data that training writes and serving reads."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_CHANNELS = {"RGB": 3, "L": 1}


def frozen(data: Mapping[str, Any]) -> dict[str, Any]:
    """What YAML or JSON holds as lists, as the tuples that a frozen dataclass takes."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Resize, crop and normalise, the same in training, evaluation and serving.

    Calling it turns an image into a float32 tensor of shape (C, H, W).
    """

    size: tuple[int, int]
    """Height and width of the network's input, pixels."""
    resize: int | None = None
    """Bring the shorter side to this many pixels, then crop the centre; `None` squeezes the image to `size`."""
    mode: str = "RGB"
    """`RGB` (3 channels) or `L` (1 channel, grey)."""
    interpolation: str = "bilinear"
    """nearest, bilinear, bicubic or lanczos; all but nearest are antialiased."""
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Subtracted per channel, after scaling pixels to 0..1."""
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    """Divided by per channel, after the mean."""

    def __post_init__(self) -> None:
        if self.mode not in _CHANNELS:
            raise ValueError(f"mode is {self.mode!r}; use RGB or L")
        if self.interpolation not in _FILTERS:
            raise ValueError(f"interpolation is {self.interpolation!r}; use one of {', '.join(_FILTERS)}")
        if min(self.size) < 1 or (self.resize is not None and self.resize < max(self.size)):
            raise ValueError(f"size {self.size} must be positive and fit into resize {self.resize}")
        if not len(self.mean) == len(self.std) == self.channels or min(self.std) <= 0:
            raise ValueError(f"mean {self.mean} and std {self.std} need {self.channels} values, std positive")

    @property
    def channels(self) -> int:
        """Channels of the tensor: 3 for RGB, 1 for grey."""
        return _CHANNELS[self.mode]

    def crop(self, image: Image.Image) -> Image.Image:
        """The part of the image that the network sees, at the network's size."""
        height, width = self.size
        return image.convert(self.mode).resize((width, height), _FILTERS[self.interpolation], self._box(image.size))

    def pixels(self, image: Image.Image) -> Tensor:
        """The cropped image as a uint8 tensor of shape (C, H, W)."""
        height, width = self.size
        flat = torch.frombuffer(bytearray(self.crop(image).tobytes()), dtype=torch.uint8)
        return flat.view(height, width, self.channels).permute(2, 0, 1).contiguous()

    def normalise(self, pixels: Tensor) -> Tensor:
        """Scale uint8 pixels of shape (C, H, W) or (N, C, H, W) to float32: `(pixels / 255 - mean) / std`."""
        mean, std = (torch.tensor(v, device=pixels.device).view(-1, 1, 1) for v in (self.mean, self.std))
        return (pixels.to(torch.float32) / 255 - mean) / std

    def __call__(self, image: Image.Image) -> Tensor:
        """The network's input for one image, float32 of shape (C, H, W)."""
        return self.normalise(self.pixels(image))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for YAML or JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a value is out of range.
            TypeError: a field is unknown or missing.
        """
        return cls(**frozen(data))

    def _box(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        # One resize from the crop's box in the source: a 1 x 40,000 pixel image never becomes 256 x 10,240,000.
        width, height = size
        if self.resize is None:
            return (0, 0, width, height)
        short = min(width, height)
        scaled_width, scaled_height = (max(1, int(self.resize * side / short)) for side in size)
        left, top = round((scaled_width - self.size[1]) / 2), round((scaled_height - self.size[0]) / 2)
        x, y = width / scaled_width, height / scaled_height
        return (left * x, top * y, min(width, (left + self.size[1]) * x), min(height, (top + self.size[0]) * y))
