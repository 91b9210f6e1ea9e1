"""Losses: the requirement's worked examples, and agreement with torch, torchvision and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from torchfinch.errors import TorchfinchError
from torchfinch.training import Data, Images, Loss, focal_loss
from torchfinch.training.losses import class_weights, criterion, cross_entropy, doubts, penalty

CPU = torch.device("cpu")
EXAMPLE = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]).log()  # scores whose softmax are these probabilities
CHANCE = torch.Generator().manual_seed(0)
SCORES = torch.randn(64, 5, generator=CHANCE)
CLASSES = torch.arange(64) % 5
SHARES = torch.rand(64, 5, generator=CHANCE).softmax(dim=1)
WEIGHT = torch.tensor([1.0, 2.0, 0.5, 3.0, 0.1])


def data(targets: Tensor) -> Data:
    labels = tuple("abcde") if targets.ndim == 1 else tuple("abcde")[: targets.shape[1]]
    return Data(labels=labels, train=Images(torch.zeros(len(targets), 1, 2, 2, dtype=torch.uint8), targets))


def loss(scores: Tensor, targets: Tensor, *, of: Tensor = CLASSES, **settings: object) -> float:
    """The loss that a training with these settings makes small."""
    return float(criterion(Loss.model_validate(settings), data(of), CPU)(scores, targets))


@pytest.mark.parametrize(("name", "value"), [("cross_entropy", 0.28991), ("focal", 0.02051)])
def test_the_requirements_example(name: str, value: float) -> None:
    assert loss(EXAMPLE, torch.tensor([0, 1]), name=name) == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize(("name", "value"), [("mse", 0.044), ("mae", 0.2), ("huber", 0.022)])
def test_the_requirements_example_of_numbers(name: str, value: float) -> None:
    predicted = torch.tensor([2.3, 3.5, 1.6, 4.0, 3.1])[:, None]
    true = torch.tensor([2.5, 3.2, 1.8, 4.1, 2.9])[:, None]

    assert loss(predicted, true, of=true, name=name) == pytest.approx(value, abs=1e-6)


def test_huber_grows_linearly_beyond_delta() -> None:
    true = torch.zeros(1, 1)

    assert loss(true + 0.5, true, of=true, name="huber", delta=2) == pytest.approx(0.5 * 0.5**2)
    assert loss(true + 5, true, of=true, name="huber", delta=2) == pytest.approx(2 * 5 - 0.5 * 2**2)


@pytest.mark.parametrize("targets", [CLASSES, SHARES], ids=["classes", "shares"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["even", "weighted"])
def test_focal_without_focus_is_cross_entropy(targets: Tensor, weight: Tensor | None) -> None:
    expected = cross_entropy(SCORES, targets, weight=weight)

    torch.testing.assert_close(focal_loss(SCORES, targets, gamma=0, weight=weight), expected)


def test_focal_of_two_classes_is_torchvisions_binary_one() -> None:
    score, positive = torch.linspace(-6, 6, 50), torch.arange(50) % 2
    expected = sigmoid_focal_loss(score, positive.float(), alpha=-1, gamma=2, reduction="mean")

    torch.testing.assert_close(focal_loss(torch.stack([-score / 2, score / 2], dim=1), positive), expected)


@pytest.mark.parametrize("gamma", [0, 0.001, 0.5, 1, 2])
def test_focal_of_a_sure_answer_has_a_gradient(gamma: float) -> None:
    scores = torch.tensor([[80.0, -80.0]], requires_grad=True)
    focal_loss(scores, torch.tensor([0]), gamma=gamma).backward()

    assert scores.grad is not None
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_a_class_and_a_share_of_one_are_the_same_target(name: str) -> None:
    hard = loss(SCORES, CLASSES, name=name)

    assert loss(SCORES, functional.one_hot(CLASSES, 5).float(), name=name) == pytest.approx(hard, rel=1e-5)


def test_label_smoothing_is_torchs() -> None:
    expected = functional.cross_entropy(SCORES, CLASSES, label_smoothing=0.1)

    assert loss(SCORES, CLASSES, label_smoothing=0.1) == pytest.approx(float(expected))


def test_doubt_is_the_probability_of_other_classes() -> None:
    certain = torch.tensor([[100.0, 0, 0]])

    torch.testing.assert_close(doubts(EXAMPLE, torch.tensor([0, 2])), torch.tensor([0.3, 0.9]))
    assert 0 < doubts(certain, torch.tensor([0])).item() < 0.01


def test_balanced_weights_are_scikit_learns() -> None:
    targets = torch.tensor([0] * 10 + [1] * 4 + [2] * 1 + [3] * 3 + [4] * 2)
    weights = class_weights(Loss(class_weights="balanced"), Images(torch.zeros(20, 1, 1, 1).byte(), targets), classes=5)
    expected = compute_class_weight("balanced", classes=np.arange(5), y=targets.numpy())

    assert weights is not None
    assert weights.tolist() == pytest.approx(expected.tolist())


def test_a_class_without_images_has_no_weight_and_spoils_no_loss() -> None:
    targets = torch.tensor([0] * 10 + [1] * 4 + [2] * 1 + [3] * 5)
    weights = class_weights(Loss(class_weights="balanced"), Images(torch.zeros(20, 1, 1, 1).byte(), targets), classes=5)

    assert weights is not None
    assert weights.tolist() == pytest.approx([0.4, 1, 4, 0.8, 0])
    assert math.isfinite(loss(SCORES, CLASSES, of=targets, class_weights="balanced", label_smoothing=0.1))


def test_class_weights_must_be_one_for_each_class() -> None:
    with pytest.raises(TorchfinchError, match=r"class_weights are \(1.0, 2.0\) .*give 5 numbers"):
        loss(SCORES, CLASSES, class_weights=(1, 2))


@pytest.mark.parametrize(
    ("name", "targets", "message"),
    [("mse", CLASSES, "is for numbers, and the recipe has classes"), ("focal", SHARES, "is for classes")],
)
def test_a_loss_for_other_targets_is_told(name: str, targets: Tensor, message: str) -> None:
    with pytest.raises(TorchfinchError, match=message):
        loss(SCORES, targets, of=targets, name=name)


def test_the_penalty_counts_weights_and_spares_biases() -> None:
    layer = nn.Linear(2, 1)
    nn.init.constant_(layer.weight, -3.0)
    nn.init.constant_(layer.bias, 100.0)

    found = penalty(layer, Loss(l1=0.1, l2=0.01))
    assert isinstance(found, Tensor)
    assert found.item() == pytest.approx(0.1 * 6 + 0.01 * 18)
    assert penalty(layer, Loss()) == 0


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
@pytest.mark.parametrize("targets", [CLASSES, SHARES], ids=["classes", "shares"])
def test_a_weighted_loss_is_a_mean_over_the_images_however_they_are_batched(name: str, targets: Tensor) -> None:
    weights = tuple(WEIGHT.tolist())
    whole = loss(SCORES, targets, name=name, class_weights=weights)
    parts = [
        loss(*part, name=name, class_weights=weights) for part in zip(SCORES.split(8), targets.split(8), strict=True)
    ]

    assert sum(parts) / len(parts) == pytest.approx(whole)


def test_label_smoothing_is_not_of_the_focal_loss() -> None:
    with pytest.raises(
        TorchfinchError, match=r"label_smoothing=0\.1 is of cross_entropy.*--set loss\.label_smoothing=0"
    ):
        loss(SCORES, CLASSES, name="focal", label_smoothing=0.1)
