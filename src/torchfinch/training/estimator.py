"""A recipe as a scikit-learn estimator, so that cross-validation, comparison and search need to know nothing else."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from torchfinch.errors import TorchfinchError
from torchfinch.evaluation import outputs, probabilities
from torchfinch.handler import Preprocessing
from torchfinch.training.data import Data, Images, split
from torchfinch.training.history import Epoch
from torchfinch.training.loop import fit
from torchfinch.training.recipe import Recipe, load_recipe
from torchfinch.training.settings import FitSettings

_OWN = ("recipe", "config")


class _RecipeEstimator(BaseEstimator, ABC):  # type: ignore[misc]  # scikit-learn is not typed
    """Fits the network of a recipe to given images: uint8 of shape (N, C, H, W) or (N, H, W), as large as it takes.

    Every field of the recipe's settings is a parameter by its dotted name: `set_params(learning_rate=1e-3)`. Where
    epochs are chosen by validation images, they are taken from those given, as large a share as in the recipe.
    """

    def __init__(self, recipe: str | Path, config: Mapping[str, Any] | None = None) -> None:
        self.recipe = recipe
        self.config = config

    def fit(
        self,
        X: ArrayLike,  # noqa: N803 - scikit-learn's names
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        told: Callable[[Epoch], object] = lambda _epoch: None,
    ) -> Self:
        """Build the network anew and fit it; the same images and settings give the same weights on one machine.

        Images of one number in `groups`, shape (N,), are all learnt from, or all validated by. `told` hears of every
        epoch that ends, when the estimator already answers as it has learnt so far, by what is validated and kept.

        Raises:
            TorchfinchError: the recipe fits nothing, or images or targets are not such as it takes.
        """
        recipe, settings = self._settings()
        data, model, preprocessing = recipe.made(settings)
        known = None if groups is None else torch.from_numpy(np.unique(groups, return_inverse=True)[1])
        images = Images(_pixels(X, preprocessing), self._targets(np.asarray(y), labels=data.labels), known)
        data = _with_images(data, images, settings)
        self.model_, self.preprocessing_ = model, preprocessing
        fit(model, data, preprocessing=preprocessing, settings=settings, told=told)
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """What the constructor was given; `deep`: the recipe, and every field of its settings by dotted name."""
        if deep:
            return {"recipe": self.recipe, **_flat(self._settings()[1].model_dump())}
        return {name: getattr(self, name) for name in _OWN}

    def set_params(self, **params: Any) -> Self:
        """Set `recipe`, `config`, or fields of the settings by dotted name.

        Raises:
            TorchfinchError: a field is unknown or its value is wrong.
        """
        for name in _OWN:
            if name in params:
                setattr(self, name, params.pop(name))
        if params:
            self.config = {**(self.config or {}), **params}
            self._settings()
        return self

    def _settings(self) -> tuple[Recipe, FitSettings]:
        recipe = load_recipe(str(self.recipe))
        settings = recipe.configure(self.config or {})
        if not isinstance(settings, FitSettings):
            raise TorchfinchError(f"the recipe {recipe.name} has nothing to fit", "its Config must be a FitSettings")
        return recipe, settings

    @abstractmethod
    def _targets(self, targets: NDArray[Any], *, labels: tuple[str, ...]) -> Tensor:
        """The targets as the loop takes them; raises `TorchfinchError` where they do not fit."""


class RecipeClassifier(ClassifierMixin, _RecipeEstimator):  # type: ignore[misc]
    """A recipe of a classifier; classes are the numbers of its labels, also where the given images lack one."""

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        """Probabilities of shape (N, classes)."""
        check_is_fitted(self)
        rows = probabilities(self.model_, _pixels(X, self.preprocessing_), preprocessing=self.preprocessing_)
        return np.asarray(rows.numpy())

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:  # noqa: N803
        """The most probable class of each image, shape (N,)."""
        return np.asarray(self.predict_proba(X).argmax(axis=1))

    def _targets(self, targets: NDArray[Any], *, labels: tuple[str, ...]) -> Tensor:
        self.classes_ = np.arange(len(labels))
        known = np.isin(targets, self.classes_)
        if not known.all():
            raise TorchfinchError(f"{targets[~known][0]!s} is no class", f"the recipe's are 0 to {len(labels) - 1}")
        return torch.from_numpy(targets.astype(np.int64))


class RecipeRegressor(RegressorMixin, _RecipeEstimator):  # type: ignore[misc]
    """A recipe of a regressor; targets are of shape (N,), or (N, K) for one that predicts K numbers."""

    def predict(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        """The predicted numbers, in the shape of the targets."""
        check_is_fitted(self)
        rows = outputs(self.model_, _pixels(X, self.preprocessing_), preprocessing=self.preprocessing_).numpy()
        return np.asarray(rows[:, 0] if rows.shape[1] == 1 else rows)

    def _targets(self, targets: NDArray[Any], *, labels: tuple[str, ...]) -> Tensor:
        numbers = targets.reshape(len(targets), -1)
        if numbers.shape[1] != len(labels) or not np.isfinite(numbers).all():
            raise TorchfinchError(
                f"targets of shape {targets.shape} do not fit, or are no numbers", f"{len(labels)} for each image"
            )
        return torch.from_numpy(numbers.astype(np.float32))


def _pixels(images: ArrayLike, preprocessing: Preprocessing) -> Tensor:
    pixels = np.asarray(images)
    pixels = pixels[:, np.newaxis] if pixels.ndim == 3 else pixels
    expected = (preprocessing.channels, *preprocessing.size)
    if pixels.dtype != np.uint8 or pixels.shape[1:] != expected:
        raise TorchfinchError(
            f"images are {pixels.dtype} of shape {pixels.shape}", f"give uint8 of shape {('N', *expected)}"
        )
    return torch.from_numpy(np.ascontiguousarray(pixels))


def _with_images(data: Data, images: Images, settings: FitSettings) -> Data:
    if settings.keep == "final" and settings.patience is None:  # nothing is chosen by them: one image, to have some
        return replace(data, train=images, validation=images[:1], test=None)
    if data.train is None or data.validation is None:
        raise TorchfinchError("the recipe gives no images to fit to", "return Data(train=..., validation=...)")
    share = len(data.validation) / (len(data.train) + len(data.validation))
    train, validation, _ = split(images, validation=share, test=0, seed=settings.seed)
    return replace(data, train=train, validation=validation, test=None)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat
