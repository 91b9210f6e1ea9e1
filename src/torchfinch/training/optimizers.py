"""Optimizers and schedules by name, as torch has them."""

import math

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
    StepLR,
)

from torchfinch.training.settings import FitSettings


def build_optimizer(model: nn.Module, settings: FitSettings) -> Optimizer:
    """The optimizer that `settings.optimizer` names.

    Weight decay is L2 for sgd, momentum and adam, and decoupled for adamw (Loshchilov and Hutter 2019). Decaying
    biases and normalisation scales only costs accuracy, so it leaves parameters of one dimension alone.
    """
    parameters = list(model.parameters())
    groups = [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
    ]
    rate, name = settings.learning_rate, settings.optimizer.name
    if name in {"sgd", "momentum"}:
        return SGD(groups, rate, momentum=settings.optimizer.momentum if name == "momentum" else 0)
    return Adam(groups, rate) if name == "adam" else AdamW(groups, rate)


def build_schedule(optimizer: Optimizer, settings: FitSettings, *, steps_per_epoch: int) -> LRScheduler:
    """The learning rate of every step: up in the warm-up, and then as `settings.schedule` names it."""
    steps = settings.epochs * steps_per_epoch
    if settings.schedule.name == "one_cycle":
        return _one_cycle(optimizer, settings, steps=steps)
    rising = math.floor(settings.warm_up * steps)
    falling = _after_warm_up(optimizer, settings, steps=steps - rising, steps_per_epoch=steps_per_epoch)
    if not rising:
        return falling
    warm_up = LinearLR(optimizer, start_factor=1 / (rising + 1), total_iters=rising)
    return SequentialLR(optimizer, [warm_up, falling], milestones=[rising])


def _one_cycle(optimizer: Optimizer, settings: FitSettings, *, steps: int) -> LRScheduler:
    """Up from a 25th of the rate and down to nearly nothing, along cosines (Smith and Topin 2018)."""
    if steps == 1:
        return ConstantLR(optimizer, factor=1)
    swings = settings.schedule.swing > 0 and settings.optimizer.name == "momentum"
    return OneCycleLR(
        optimizer,
        settings.learning_rate,
        total_steps=steps,
        pct_start=settings.warm_up
        + (1e-6 if settings.warm_up * steps == 1 else 0),  # torch divides by their difference
        cycle_momentum=swings,
        max_momentum=settings.optimizer.momentum,
        base_momentum=max(settings.optimizer.momentum - settings.schedule.swing, 0),
    )


def _after_warm_up(optimizer: Optimizer, settings: FitSettings, *, steps: int, steps_per_epoch: int) -> LRScheduler:
    schedule = settings.schedule
    if schedule.name == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps, eta_min=schedule.floor * settings.learning_rate)
    if schedule.name == "step":
        return StepLR(optimizer, step_size=schedule.every * steps_per_epoch, gamma=schedule.factor)
    return ConstantLR(optimizer, factor=1)
