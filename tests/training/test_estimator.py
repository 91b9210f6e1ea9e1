"""A recipe behind scikit-learn's protocol: cloned, searched and cross-validated like any other classifier."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from torch import nn

from torchfinch.errors import TorchfinchError
from torchfinch.evaluation import cross_validate
from torchfinch.training import Data, Epoch, Images, fit, load_recipe
from torchfinch.training import estimator as estimators
from torchfinch.training.estimator import RecipeClassifier, RecipeRegressor
from torchfinch.tuning import images_problem

QUICK = {"epochs": 2, "width": 4}


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """A quarter of scikit-learn's digits as uint8 images of shape (N, 8, 8), with their classes."""
    images, targets = load_digits(return_X_y=True)
    return np.round(images[:450] * 255 / 16).astype(np.uint8).reshape(-1, 8, 8), targets[:450]


def test_it_learns_and_answers_like_a_classifier(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, targets = digits
    estimator = RecipeClassifier("digits", {"epochs": 6, "width": 8}).fit(images, targets)
    rows = estimator.predict_proba(images)

    assert is_classifier(estimator)
    assert rows.shape == (450, 10)
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-5)
    assert (estimator.predict(images) == rows.argmax(axis=1)).all()
    assert estimator.score(images, targets) > 0.8


def test_a_clone_is_unfitted_and_fits_to_the_same_weights(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, targets = digits
    estimator = RecipeClassifier("digits", QUICK).fit(images, targets)
    copy = clone(estimator)

    with pytest.raises(NotFittedError):
        copy.predict(images)
    np.testing.assert_array_equal(
        copy.fit(images[:, np.newaxis], targets).predict_proba(images), estimator.predict_proba(images)
    )


def test_it_tells_of_every_epoch_and_answers_meanwhile(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, targets = digits
    estimator = RecipeClassifier("digits", {"epochs": 6, "width": 8})
    scores: list[float] = []
    estimator.fit(images, targets, told=lambda _epoch: scores.append(estimator.score(images, targets)))
    untold = RecipeClassifier("digits", {"epochs": 6, "width": 8}).fit(images, targets)

    assert len(scores) == 6
    assert scores[-1] > scores[0]
    np.testing.assert_array_equal(estimator.predict_proba(images), untold.predict_proba(images))


def test_of_a_moving_average_every_epochs_score_is_the_averages(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, targets = digits
    values = {**QUICK, "ema": 0.95, "keep": "final"}
    estimator, rows = RecipeClassifier("digits", values), []
    estimator.fit(images, targets, told=lambda _epoch: rows.append(estimator.predict_proba(images)))
    untold = RecipeClassifier("digits", values).fit(images, targets)

    np.testing.assert_array_equal(rows[-1], estimator.predict_proba(images))
    np.testing.assert_array_equal(rows[-1], untold.predict_proba(images))


@pytest.mark.parametrize("values", [{}, {"keep": "best", "loss.class_weights": "balanced"}], ids=["final", "best"])
@pytest.mark.parametrize("rare", [0, 1])
def test_it_goes_on_where_the_images_lack_a_class_or_nearly(
    digits: tuple[np.ndarray, np.ndarray], values: dict[str, Any], rare: int
) -> None:
    images, targets = digits
    kept = np.concatenate([np.flatnonzero(targets != 7), np.flatnonzero(targets == 7)[:rare]])
    estimator = RecipeClassifier("digits", {**QUICK, **values}).fit(images[kept], targets[kept])

    assert estimator.predict_proba(images).shape == (450, 10)
    assert estimator.classes_.tolist() == list(range(10))


def test_folds_without_a_class_are_cross_validated(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, targets = digits
    kept = np.concatenate([np.flatnonzero(targets != 7), np.flatnonzero(targets == 7)[:1]])
    found = cross_validate(RecipeClassifier("digits", QUICK), images[kept], targets[kept], folds=2, stratified=False)

    assert len(found.folds) == 2


def test_every_field_of_the_settings_is_a_parameter() -> None:
    estimator = RecipeClassifier("digits").set_params(epochs=3, learning_rate=0.01)

    assert estimator.get_params(deep=False) == {"recipe": "digits", "config": {"epochs": 3, "learning_rate": 0.01}}
    assert estimator.get_params()["epochs"] == 3
    assert estimator.get_params()["weight_decay"] == RecipeClassifier("digits").get_params()["weight_decay"]
    assert pickle.loads(pickle.dumps(estimator)).get_params() == estimator.get_params()


def test_the_best_epoch_is_chosen_without_the_images_of_another_fold(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, targets = digits
    estimator = RecipeClassifier("digits", {**QUICK, "keep": "best"})

    assert estimator.fit(images[:200], targets[:200]).predict(images[200:]).shape == (250,)


GROUPS, CLASSES = np.arange(120) // 4, np.arange(120) % 10
IN_GROUPS = np.broadcast_to(GROUPS[:, None, None], (120, 8, 8)).astype(np.uint8)  # an image is its group's number


def by_itself(estimator: RecipeClassifier, data: Data) -> None:
    estimator.fit(IN_GROUPS, CLASSES, groups=GROUPS)


def by_cross_validation(estimator: RecipeClassifier, data: Data) -> None:
    cross_validate(estimator, IN_GROUPS, CLASSES, groups=GROUPS, folds=2, stratified=False)


def by_tuning(estimator: RecipeClassifier, data: Data) -> None:
    list(images_problem(estimator, data, name="groups").scores({}, lambda _score: None))


@pytest.mark.parametrize("fitted_by", [by_itself, by_cross_validation, by_tuning])
def test_the_best_epoch_is_not_chosen_by_images_of_groups_that_are_learnt(
    fitted_by: Callable[[RecipeClassifier, Data], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Data] = []

    def watched(model: nn.Module, data: Data, **named: Any) -> list[Epoch]:
        seen.append(data)
        return fit(model, data, **named)

    monkeypatch.setattr(estimators, "fit", watched)
    images = Images(torch.from_numpy(IN_GROUPS.copy())[:, None], torch.from_numpy(CLASSES), torch.from_numpy(GROUPS))
    data = Data(labels=tuple("0123456789"), train=images[:100], validation=images[100:])
    fitted_by(RecipeClassifier("digits", {"epochs": 1, "width": 4, "keep": "best"}), data)

    assert seen
    for each in seen:
        assert each.train
        assert each.validation
        assert not set(each.train.pixels[:, 0, 0, 0].tolist()) & set(each.validation.pixels[:, 0, 0, 0].tolist())


def test_a_mistyped_field_is_named_with_the_nearest() -> None:
    with pytest.raises(TorchfinchError, match=r"learning_rat.*learning_rate"):
        RecipeClassifier("digits").set_params(learning_rat=0.1)


def test_a_recipe_with_nothing_to_fit_is_refused(digits: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    recipe = tmp_path / "given.py"
    recipe.write_text(
        "from torchfinch.training import Settings\nclass Config(Settings): pass\ndef build(config): raise RuntimeError"
    )
    with pytest.raises(TorchfinchError, match="given has nothing to fit"):
        RecipeClassifier(recipe).fit(*digits)


@pytest.mark.parametrize(
    ("images", "targets", "said"),
    [
        (np.zeros((4, 8, 8), np.float32), [0, 1, 2, 3], "images are float32"),
        (np.zeros((4, 9, 8), np.uint8), [0, 1, 2, 3], r"shape \(4, 1, 9, 8\)"),
        (np.zeros((4, 8, 8), np.uint8), [0, 1, 2, 10], "10 is no class.*0 to 9"),
        (np.zeros((4, 8, 8), np.uint8), [0, 1, 2, -1], "-1 is no class"),
    ],
)
def test_images_and_classes_that_do_not_fit_are_refused(images: np.ndarray, targets: list[int], said: str) -> None:
    with pytest.raises(TorchfinchError, match=said):
        RecipeClassifier("digits", QUICK).fit(images, targets)


def test_a_recipe_that_predicts_numbers_is_a_regressor() -> None:
    recipe = load_recipe("angles")
    size = recipe.build(recipe.configure())[2].size
    images = np.random.default_rng(0).integers(256, size=(100, *size), dtype=np.uint8)
    angles = images[:, 0, 0] / 25.0
    estimator = RecipeRegressor("angles", {"epochs": 1, "width": 4}).fit(images, angles)

    assert is_regressor(estimator)
    assert estimator.predict(images).shape == angles.shape
    with pytest.raises(TorchfinchError, match=r"\(100, 2\) do not fit"):
        estimator.fit(images, np.stack([angles, angles], axis=1))
