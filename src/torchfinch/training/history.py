"""What is written down of a training: one entry for each epoch."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the training images and one over the validation images; means are over images."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    """Mean loss, in training mode, on augmented images, while the weights change; without L1 and L2."""
    validation_loss: float
    """Mean loss after the pass."""
    train_accuracy: float | None
    """Share of right answers on the way, as `train_loss`; `None` where numbers are predicted."""
    validation_accuracy: float | None
    """Share of right answers after the pass."""
    class_accuracy: tuple[float | None, ...]
    """`validation_accuracy` by class; `None` for a class without images."""
    learning_rate: float
    """Of the last step."""
    seconds: float
    """Both passes together."""
    data_seconds: float
    """Part of the training pass in which the network waited for its batches."""
    images_per_second: float
    """Training images per second of the training pass."""

    def __str__(self) -> str:
        accuracy = "" if self.validation_accuracy is None else f"accuracy {self.validation_accuracy:.2%}  "
        return (
            f"epoch {self.epoch:3d}  train loss {self.train_loss:.4f}  validation loss {self.validation_loss:.4f}  "
            f"{accuracy}{self.images_per_second:,.0f} images/s"
        )


class Tally:
    """Sums over the images of one pass, so that a short batch counts for as much as it holds."""

    def __init__(self, classes: int | None) -> None:
        self.classes = classes
        # loss and images; then, by class, right answers and images
        self.sums = torch.zeros(2 + 2 * (classes or 0), dtype=torch.float64)

    def add(self, loss: float, scores: Tensor, targets: Tensor) -> None:
        """Count a batch: its mean loss, its scores (N, K), and its classes (N,), blended ones (N, K), or numbers."""
        self.sums[:2] += torch.tensor([loss * len(targets), len(targets)], dtype=torch.float64)
        if self.classes:
            classes = targets.argmax(dim=1) if targets.ndim == 2 else targets
            right = classes[scores.argmax(dim=1) == classes]
            counts = [torch.bincount(each, minlength=self.classes) for each in (right, classes)]
            self.sums[2:] += torch.cat(counts).cpu()

    @property
    def loss(self) -> float:
        """Mean over the images."""
        return float(self.sums[0] / self.sums[1])

    @property
    def accuracy(self) -> float | None:
        """Share of images whose highest score is their class's."""
        return float(self.sums[2 : 2 + self.classes].sum() / self.sums[1]) if self.classes else None

    @property
    def class_accuracy(self) -> tuple[float | None, ...]:
        """`accuracy` by class."""
        shares = (self.sums[2:].view(2, -1)[0] / self.sums[2:].view(2, -1)[1]).tolist() if self.classes else []
        return tuple(None if math.isnan(share) else share for share in shares)
