"""An image classifier with test-time augmentation: the mean over an image and its mirror image."""

from torch import Tensor

from torchfinch.handler import ImageClassifier


class AveragedClassifier(ImageClassifier):
    """Average the probabilities of every image and its mirror image; twice the work, often a little more accurate.

    Only for classes that mean the same when mirrored: photographs, but not digits.
    """

    def predict(self, batch: Tensor) -> Tensor:
        """Mean probabilities, shape (N, classes)."""
        return (super().predict(batch) + super().predict(batch.flip(-1))) / 2
