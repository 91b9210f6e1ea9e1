"""A release that must not reach everyone: slower than before, and failing on one digit in ten.

The demo rolls it out as digits 3.0 to show a canary being taken back.
"""

import time

from torch import Tensor

from torchfinch.handler import JSON, HandlerError, ImageClassifier


class BrokenClassifier(ImageClassifier):
    """Classify digits, but slowly, and not when the answer is an eight."""

    def decode(self, body: bytes) -> Tensor:
        """One image, shape (C, H, W), after a pause that no one needs."""
        time.sleep(0.03)
        return super().decode(body)

    def encode(self, row: Tensor) -> JSON:
        """The answer, unless it is an eight."""
        answer = super().encode(row)
        if answer["label"] == "eight":
            raise HandlerError("eights are broken in this version; use another one")
        return answer
