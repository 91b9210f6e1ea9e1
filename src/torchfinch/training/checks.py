"""What is refused before an image is learnt from, or at the first batch."""

from operator import attrgetter

import torch
from torch import Tensor

from torchfinch.errors import TorchfinchError
from torchfinch.training.data import Data, Images
from torchfinch.training.settings import FitSettings

_OF_CLASSES = {
    "sampling": "shuffled",
    "augmentation.mixup": 0,
    "augmentation.cutmix": 0,
    "loss.label_smoothing": 0,
    "loss.class_weights": "none",
}
"""Settings that mean nothing where numbers are predicted, with their values that do nothing."""


def images_to_fit(data: Data, settings: FitSettings) -> tuple[Images, Images]:
    """The images for training and for validation.

    Raises:
        TorchfinchError: there are none, there is one class, or a setting does not go with the data.
    """
    if data.train is None or data.validation is None:
        lacking = "images to fit to" if data.train is None else "validation images, by which epochs are judged"
        raise TorchfinchError(f"the recipe gives no {lacking}", "return Data(train=..., validation=...) in build()")
    if not data.train.classified:
        _check_numbers(settings)
        return data.train, data.validation
    _check_sampling(settings)
    if len(data.labels) == 1:
        raise TorchfinchError(f"there is one class, {data.labels[0]!r}, and nothing to tell apart", "give two or more")
    return data.train, data.validation


def check_every_class(data: Data) -> None:
    """Whether every class has a training image, which folds may lack and a training should not.

    Raises:
        TorchfinchError: one has none.
    """
    if data.train is None or not data.train.classified:
        return
    counts = torch.bincount(data.train.targets, minlength=len(data.labels)).tolist()
    empty = [repr(label) for label, count in zip(data.labels, counts, strict=True) if not count]
    if empty:
        raise TorchfinchError(f"there is no training image of {', '.join(empty[:5])}", "add some, or drop it")


def check_outputs(outputs: object, *, images: int, labels: int) -> None:
    """Whether a network has given a row to each image, with a number for each label.

    Raises:
        TorchfinchError: it has not; some losses would spread one shape over the other and learn nonsense.
    """
    found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if found != (images, labels):
        raise TorchfinchError(
            f"the network's outputs are {found}, and {images} images with {labels} labels need {(images, labels)}",
            "its forward() returns one tensor, with an output for each label",
        )


def _check_sampling(settings: FitSettings) -> None:
    sampling, augmentation = settings.sampling, settings.augmentation
    if sampling == "doubtful" and (augmentation.mixup or augmentation.cutmix):
        raise TorchfinchError("sampling=doubtful does not go with mixup or cutmix, whose images have two classes")
    if sampling == "doubtful" and settings.share == 1:
        raise TorchfinchError("sampling=doubtful draws a part of the images, and share=1 is all of them", "share=0.5")


def _check_numbers(settings: FitSettings) -> None:
    for name, neutral in _OF_CLASSES.items():
        value = attrgetter(name)(settings)
        if value != neutral:
            raise TorchfinchError(
                f"{name}={value} is for classes, and the recipe predicts numbers", f"--set {name}={neutral}"
            )
