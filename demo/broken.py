"""A release that must not reach everyone: slow from the start, and failing on some inputs after a while.

It passes a quick look, golden requests included, as such releases do. The demo rolls it out as digits 3.0 to show a
canary being taken back.
"""

import time

from torch import Tensor

from torchfinch.handler import JSON, HandlerError, ImageClassifier


class BrokenClassifier(ImageClassifier):
    """Classify digits slowly, and keep every eight until there is no room for another."""

    ROOM = 40

    def decode(self, body: bytes) -> Tensor:
        """One image, shape (C, H, W), after a pause that no one needs."""
        time.sleep(0.03)
        return super().decode(body)

    def encode(self, row: Tensor) -> JSON:
        """The answer, unless it is an eight too many."""
        answer = super().encode(row)
        if answer["label"] == "eight":
            self._eights = [*getattr(self, "_eights", []), answer][: self.ROOM]
            if len(self._eights) == self.ROOM:
                raise HandlerError("there is no room for another eight in this version; use another one")
        return answer
