"""The handler SDK: everything that serving an image model needs, and nothing else of torchfinch.

It is a leaf: it imports torch, Pillow and NumPy, and is copied whole into every archive.
"""

from torchfinch.handler.answers import JSON, WIRE_VERSION
from torchfinch.handler.archive import Archive
from torchfinch.handler.classifier import ImageClassifier
from torchfinch.handler.errors import (
    ArchiveError,
    BadRequest,
    HandlerError,
    TooLarge,
    Unavailable,
    Unprocessable,
    UnsupportedMedia,
)
from torchfinch.handler.image_handler import ImageHandler, Predictor
from torchfinch.handler.images import Limits, open_image
from torchfinch.handler.preprocessing import Preprocessing
from torchfinch.handler.regressor import ImageRegressor

__all__ = [
    "JSON",
    "WIRE_VERSION",
    "Archive",
    "ArchiveError",
    "BadRequest",
    "HandlerError",
    "ImageClassifier",
    "ImageHandler",
    "ImageRegressor",
    "Limits",
    "Predictor",
    "Preprocessing",
    "TooLarge",
    "Unavailable",
    "Unprocessable",
    "UnsupportedMedia",
    "open_image",
]
