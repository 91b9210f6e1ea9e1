"""The loop: what it keeps, what it counts, and when it gives up."""

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from torchfinch.console import err
from torchfinch.errors import TorchfinchError
from torchfinch.evaluation import probabilities
from torchfinch.handler import Preprocessing
from torchfinch.training import Data, FitSettings, Images, fit

GREY = Preprocessing(size=(2, 2), mode="L", mean=(0.5,), std=(0.5,))


class Linear(nn.Module):
    """One linear layer, and dropout so that chance matters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(4, 2))

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.layers(images)
        return scores


def halves(samples: int, seed: int) -> Images:
    """Noise whose left (class 0) or right (class 1) half is brighter."""
    chance = torch.Generator().manual_seed(seed)
    targets = torch.arange(samples) % 2
    pixels = torch.randint(0, 200, (samples, 1, 2, 2), generator=chance, dtype=torch.uint8)
    for image, side in zip(pixels, targets.tolist(), strict=True):
        image[0, :, side] += 55
    return Images(pixels, targets)


DATA = Data(labels=("left", "right"), train=halves(61, 0), validation=halves(40, 1))
ROUGH: dict[str, Any] = {"learning_rate": 1.0, "epochs": 8, "batch_size": 20}


def fitted(data: Data = DATA, **values: Any) -> tuple[Linear, list[float]]:
    """A fitted network, and its validation losses."""
    torch.manual_seed(0)
    model = Linear()
    settings = FitSettings.model_validate({"epochs": 3, **values})
    history = fit(model, data, preprocessing=GREY, settings=settings)
    return model, [epoch.validation_loss for epoch in history]


def validation_loss(model: nn.Module) -> float:
    """Mean cross-entropy of the validation images, worked out anew."""
    assert DATA.validation is not None
    rows = probabilities(model, DATA.validation.pixels, preprocessing=GREY)
    return float(-rows[torch.arange(len(rows)), DATA.validation.targets].log().mean())


def test_it_learns() -> None:
    _, losses = fitted(epochs=20, learning_rate=0.1)

    assert losses[-1] < 0.5 < losses[0]


def test_the_stated_loss_is_the_mean_over_images_whatever_the_batches() -> None:
    model, losses = fitted(keep="final", batch_size=3)

    assert losses[-1] == pytest.approx(validation_loss(model), abs=1e-6)


def test_the_best_weights_are_those_of_the_lowest_validation_loss() -> None:
    model, losses = fitted(keep="best", **ROUGH)

    assert min(losses) < losses[-1]
    assert validation_loss(model) == pytest.approx(min(losses), abs=1e-6)


def test_the_final_weights_are_those_of_the_last_epoch() -> None:
    model, losses = fitted(keep="final", **ROUGH)

    assert validation_loss(model) == pytest.approx(losses[-1], abs=1e-6)
    assert not model.training


def test_chance_comes_from_the_seed_alone() -> None:
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        model = Linear()
        torch.rand(seed * 3)  # whatever was drawn before
        fit(model, DATA, preprocessing=GREY, settings=FitSettings(batch_size=20, seed=seed))
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))

    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_fit_leaves_the_chance_of_numpy_and_python_where_it_was() -> None:
    random.seed(3)
    np.random.seed(3)
    expected = random.random(), np.random.rand()
    random.seed(3)
    np.random.seed(3)
    fitted()

    assert (random.random(), np.random.rand()) == expected


def test_every_image_is_seen_once_an_epoch_and_no_batch_is_tiny() -> None:
    batches: list[list[int]] = []
    pixels = torch.arange(61, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)

    def watch(batch: Tensor, _chance: torch.Generator) -> Tensor:
        batches.append(batch[:, 0, 0, 0].tolist())
        return batch

    train = Images(pixels, torch.arange(61) % 2)
    fitted(Data(labels=("a", "b"), train=train, validation=DATA.validation, augment=watch), epochs=2, batch_size=20)

    assert [len(batch) for batch in batches] == [16, 15, 15, 15] * 2
    first, second = ([image for batch in epoch for image in batch] for epoch in (batches[:4], batches[4:]))
    assert sorted(first) == sorted(second) == list(range(61))
    assert first != second


def test_the_learning_rate_rises_and_falls() -> None:
    history = fit(Linear(), DATA, preprocessing=GREY, settings=FitSettings(epochs=10, learning_rate=0.01, warm_up=0.3))
    rates = [epoch.learning_rate for epoch in history]
    peak = rates.index(max(rates))

    assert max(rates) == pytest.approx(0.01, rel=0.05)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 1e-6


def test_the_largest_seed_is_taken() -> None:
    assert len(fitted(seed=2**64 - 1, epochs=1)[1]) == 1


def test_the_number_of_threads_is_put_back() -> None:
    before = torch.get_num_threads()
    fitted(threads=1 if before > 1 else 2)

    assert torch.get_num_threads() == before


def test_an_epoch_is_a_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    history = fit(Linear(), DATA, preprocessing=GREY, settings=FitSettings(epochs=2))

    assert str(history[0]).startswith("epoch   1  train loss ")
    assert math.isfinite(history[0].images_per_second)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("rank", "drawn"), [(0, True), (1, False)])
def test_on_a_terminal_the_first_process_alone_draws_a_bar_and_leaves_a_line_for_each_epoch(
    rank: int, drawn: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(err, "_force_terminal", True)
    monkeypatch.setenv("RANK", str(rank))
    fitted()
    said = capsys.readouterr().err

    assert ("\x1b[?25l" in said) == drawn  # no cursor: a bar
    assert [f"epoch   {number}  train loss " in said for number in (1, 2, 3)] == [drawn] * 3


def test_a_loss_that_is_no_number_says_which_learning_rate_to_try() -> None:
    def spoil(pixels: Tensor, _chance: torch.Generator) -> Tensor:
        return pixels * math.nan

    data = Data(labels=DATA.labels, train=DATA.train, validation=DATA.validation, augment=spoil)

    with pytest.raises(TorchfinchError, match=r"became nan in epoch 1, batch 1 of 1 \(images 30, .*=0\.0003"):
        fitted(data)


def test_nothing_to_fit_to_is_told() -> None:
    with pytest.raises(TorchfinchError, match="no images to fit to"):
        fitted(Data(labels=("a",)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_told() -> None:
    with pytest.raises(TorchfinchError, match=r"device=cuda: torch sees no GPU .*--set device=cpu"):
        fitted(device="cuda")
