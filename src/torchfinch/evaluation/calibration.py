"""Whether a classifier is right as often as it says: reliability by confidence, and its expected calibration error."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Of equal width over the confidences 0 to 1, as in Guo et al., On Calibration of Modern Neural Networks, 2017."""


@dataclass(frozen=True)
class Bin:
    """Images whose most probable class has a probability within `(low, high]`."""

    low: float
    high: float
    images: int
    confidence: float
    """Mean probability of the answers."""
    accuracy: float
    """Share of right answers; that of a calibrated classifier is its confidence."""


def reliability(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """The bins with any images, from confidences of shape (N,) and whether each answer is right, shape (N,)."""
    places = np.clip(np.ceil(confidences * BINS).astype(int) - 1, 0, BINS - 1)
    return tuple(
        Bin(
            low=place / BINS,
            high=(place + 1) / BINS,
            images=int((places == place).sum()),
            confidence=float(confidences[places == place].mean()),
            accuracy=float(right[places == place].mean()),
        )
        for place in np.unique(places).tolist()
    )


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """Mean over the images of `|accuracy - confidence|` of their bin."""
    images = sum(each.images for each in bins)
    return sum(each.images / images * abs(each.accuracy - each.confidence) for each in bins)
