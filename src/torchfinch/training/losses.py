"""Losses by name; each is a function of scores and targets, and a mean over the images."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from torchfinch.errors import TorchfinchError
from torchfinch.training.data import Data, Images
from torchfinch.training.settings import Loss

Criterion = Callable[[Tensor, Tensor], Tensor]
"""From scores (N, K) and targets to the mean loss; targets are classes (N,), shares (N, K) or numbers (N, K)."""

_NUMBERS: dict[str, Criterion] = {"mse": functional.mse_loss, "mae": functional.l1_loss}


def focal_loss(scores: Tensor, targets: Tensor, *, gamma: float = 2, weight: Tensor | None = None) -> Tensor:
    """Mean of `-w_t (1 - p_t)^gamma ln p_t` over the images, p being the softmax of `scores` (N, C).

    Lin et al. 2017, "Focal Loss for Dense Object Detection", for any number of classes; targets may be shares (N, C).
    With gamma 0 it is `cross_entropy`.
    """
    log = scores.log_softmax(dim=1)
    others = -log.expm1()  # 1 - p, exact also where p is nearly 1
    log = others.clamp(min=torch.finfo(log.dtype).tiny) ** gamma * log  # a root of 0 has no gradient
    if targets.ndim == 1:
        return functional.nll_loss(log, targets, weight=weight, reduction="none").mean()
    return -(log * targets * (1 if weight is None else weight)).sum(dim=1).mean()


def cross_entropy(
    scores: Tensor, targets: Tensor, *, weight: Tensor | None = None, label_smoothing: float = 0
) -> Tensor:
    """Mean of `-w_t ln p_t` over the images; targets may be shares (N, C).

    PyTorch divides by the sum of the weights `weight` (C,) instead, which makes the loss depend on how images are
    batched.
    """
    each = functional.cross_entropy(scores, targets, weight=weight, label_smoothing=label_smoothing, reduction="none")
    return each.mean()


def criterion(settings: Loss, data: Data, device: torch.device) -> Criterion:
    """The loss that `settings` names, for the targets of `data`.

    Raises:
        TorchfinchError: the loss is not one for such targets, or the class weights are not one for each class.
    """
    assert data.train is not None
    if data.train.classified == (settings.name in {"mse", "mae", "huber"}):
        kinds = ("numbers", "classes") if data.train.classified else ("classes", "numbers")
        other = "cross_entropy or focal" if data.train.classified else "mse, mae or huber"
        raise TorchfinchError(
            f"loss.name={settings.name} is for {kinds[0]}, and the recipe has {kinds[1]}", f"use {other}"
        )
    if settings.name == "huber":
        return partial(functional.huber_loss, delta=settings.delta)
    if settings.name in _NUMBERS:
        return _NUMBERS[settings.name]
    weight = class_weights(settings, data.train, classes=len(data.labels))
    weight = None if weight is None else weight.to(device)
    if settings.name == "focal" and settings.label_smoothing:
        raise TorchfinchError(
            f"loss.label_smoothing={settings.label_smoothing} is of cross_entropy, and loss.name=focal",
            "--set loss.label_smoothing=0",
        )
    if settings.name == "focal":
        return partial(focal_loss, gamma=settings.gamma, weight=weight)
    return partial(cross_entropy, weight=weight, label_smoothing=settings.label_smoothing)


def doubts(scores: Tensor, targets: Tensor) -> Tensor:
    """The probability (N,) that scores (N, K) give to other classes than an image's own (N,), never quite 0."""
    return (1 - scores.softmax(dim=1).gather(1, targets[:, None])[:, 0]).clamp(min=1e-3)


def class_weights(settings: Loss, images: Images, *, classes: int) -> Tensor | None:
    """One weight for each class, float32 (C,); balanced is `N / (C N_c)`, as scikit-learn has it, and 0 without images.

    Raises:
        TorchfinchError: the numbers given are not one for each class.
    """
    if settings.class_weights == "none":
        return None
    if settings.class_weights == "balanced":
        counts = torch.bincount(images.targets, minlength=classes)
        return torch.where(counts > 0, len(images) / (classes * counts), 0.0)
    if len(settings.class_weights) != classes or min(settings.class_weights) < 0:
        raise TorchfinchError(
            f"loss.class_weights are {settings.class_weights}", f"give {classes} numbers, none below 0, or balanced"
        )
    return torch.tensor(settings.class_weights)


def penalty(model: nn.Module, settings: Loss) -> Tensor | float:
    """`l1 sum|w| + l2 sum w^2` over the weights with more than one dimension; added to the loss in each step."""
    if not settings.l1 and not settings.l2:
        return 0.0
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    return sum(settings.l1 * weight.abs().sum() + settings.l2 * weight.square().sum() for weight in weights)
