"""Optimizers and schedules: the requirement's formulas, and what weight decay leaves alone."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from torchfinch.training import FitSettings, build_optimizer, build_schedule


def settings(**values: Any) -> FitSettings:
    return FitSettings.model_validate({"weight_decay": 0, **values})


def stepped(start: float, *gradients: float, **values: Any) -> float:
    """One weight after a step for each gradient."""
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, start)
    optimizer = build_optimizer(layer, settings(**values))
    for gradient in gradients:
        layer.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
    return float(layer.weight.detach())


def rates(*, epochs: int = 10, steps_per_epoch: int = 4, **values: Any) -> list[float]:
    """The learning rate of every step."""
    given = settings(epochs=epochs, learning_rate=1.0, **values)
    optimizer = build_optimizer(nn.Linear(1, 1), given)
    schedule = build_schedule(optimizer, given, steps_per_epoch=steps_per_epoch)
    found = []
    for _ in range(epochs * steps_per_epoch):
        found.append(float(schedule.get_last_lr()[0]))
        optimizer.step()
        schedule.step()
    return found


def test_the_requirements_step_of_adam() -> None:
    assert stepped(0.5, 2.0, learning_rate=0.001, optimizer={"name": "adam"}) == pytest.approx(0.499, abs=1e-7)


def test_sgd_follows_the_gradient_and_momentum_goes_on() -> None:
    assert stepped(1.0, 2.0, 2.0, learning_rate=0.1, optimizer={"name": "sgd"}) == pytest.approx(1 - 0.2 - 0.2)
    moved = stepped(1.0, 2.0, 2.0, learning_rate=0.1, optimizer={"name": "momentum", "momentum": 0.9})
    assert moved == pytest.approx(1 - 0.2 - 0.1 * (0.9 * 2 + 2))


def test_decay_is_decoupled_in_adamw_and_l2_elsewhere() -> None:
    values: dict[str, Any] = {"learning_rate": 0.1, "weight_decay": 0.5}

    assert stepped(2.0, 0.0, optimizer={"name": "adamw"}, **values) == pytest.approx(2 - 0.1 * 0.5 * 2)
    assert stepped(2.0, 0.0, optimizer={"name": "sgd"}, **values) == pytest.approx(2 - 0.1 * 0.5 * 2)
    assert stepped(2.0, 0.0, optimizer={"name": "adam"}, **values) == pytest.approx(2 - 0.1)  # any gradient's length


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adamw"])
def test_norms_and_biases_do_not_decay(name: str) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    optimizer = build_optimizer(model, settings(weight_decay=0.1, optimizer={"name": name}))
    decayed = {id(each) for group in optimizer.param_groups if group["weight_decay"] for each in group["params"]}

    assert {key for key, each in model.named_parameters() if id(each) in decayed} == {"0.weight", "3.weight"}


def test_step_decay() -> None:
    found = rates(warm_up=0, schedule={"name": "step", "every": 3, "factor": 0.5})

    assert found == pytest.approx([0.5 ** (step // 4 // 3) for step in range(40)])


@pytest.mark.parametrize("floor", [0, 0.1])
def test_cosine_annealing_ends_at_its_floor(floor: float) -> None:
    expected = [floor + (1 - floor) / 2 * (1 + math.cos(math.pi * step / 40)) for step in range(40)]

    assert rates(warm_up=0, schedule={"name": "cosine", "floor": floor}) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["cosine", "step", "constant"])
def test_a_warm_up_comes_before_any_schedule(name: str) -> None:
    found = rates(warm_up=0.25, schedule={"name": name, "every": 2, "factor": 0.5})
    after = rates(epochs=15, steps_per_epoch=2, warm_up=0, schedule={"name": name, "every": 4, "factor": 0.5})

    assert found[:11] == pytest.approx([(step + 1) / 11 for step in range(11)])
    assert found[10:] == pytest.approx(after)


def test_one_cycle_rises_and_falls_to_nearly_nothing() -> None:
    found = rates(warm_up=0.25)
    peak = found.index(max(found))

    assert max(found) == pytest.approx(1, rel=0.01)
    assert all(before < after for before, after in pairwise(found[: peak + 1]))
    assert all(before > after for before, after in pairwise(found[peak:]))
    assert found[-1] < 1e-4


@pytest.mark.parametrize(("warm_up", "epochs"), [(0.2, 5), (0.1, 10), (0.5, 2), (0.2, 1), (0, 1), (0, 2)])
def test_one_cycle_of_few_steps_learns(warm_up: float, epochs: int) -> None:
    found = rates(epochs=epochs, steps_per_epoch=1, warm_up=warm_up)

    assert max(found) == 1 if epochs == 1 else 0.03 < max(found) <= 1


@pytest.mark.parametrize(
    ("optimizer", "swing", "lowest", "highest"),
    [("sgd", 0.1, 0, 0), ("momentum", 0, 0.7, 0.7), ("momentum", 0.1, 0.6, 0.7), ("adamw", 0.1, 0.9, 0.9)],
)
def test_momentum_is_what_is_asked_for_and_falls_only_by_the_swing(
    optimizer: str, swing: float, lowest: float, highest: float
) -> None:
    given = settings(epochs=10, optimizer={"name": optimizer, "momentum": 0.7}, schedule={"swing": swing})
    made = build_optimizer(nn.Linear(1, 1), given)
    schedule = build_schedule(made, given, steps_per_epoch=10)
    found = []
    for _ in range(100):
        [group] = {group.get("momentum", group.get("betas", [None])[0]) for group in made.param_groups}
        found.append(group)
        made.step()
        schedule.step()

    assert (min(found), max(found)) == pytest.approx((lowest, highest), abs=1e-3)
