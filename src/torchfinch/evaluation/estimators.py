"""Any scikit-learn estimator where a recipe can stand: found by its dotted name, and given images as features."""

import ast
import difflib
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.validation import has_fit_parameter

from torchfinch.errors import TorchfinchError


class FlatPixels(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is not typed
    """Turns uint8 images of shape (N, ...) into features of shape (N, pixels), between 0 and 1."""

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:  # noqa: ARG002, N803 - scikit-learn's names
        """Nothing is learnt."""
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """The features."""
        images = np.asarray(X)
        return images.reshape(len(images), -1) / 255

    def __sklearn_is_fitted__(self) -> bool:
        return True


def load_estimator(name: str, values: Mapping[str, Any]) -> Pipeline:
    """An estimator by its dotted name, `sklearn.svm.SVC`, behind `FlatPixels`; text is read as Python writes values.

    Raises:
        TorchfinchError: there is no such estimator, or it has no such parameter.
    """
    module, _, attribute = name.rpartition(".")
    try:
        kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise TorchfinchError(f"there is no estimator {name}: {error}", "such as sklearn.svm.SVC") from error
    if not (isinstance(kind, type) and hasattr(kind, "fit") and hasattr(kind, "get_params")):
        raise TorchfinchError(
            f"{name} is no scikit-learn estimator", "it needs fit, predict, get_params and set_params"
        )
    try:
        estimator = kind()
    except TypeError as error:
        raise TorchfinchError(f"{name} cannot be made: {error}", "in Python, cross_validate() takes it made") from error
    check_parameters(attribute, values, known=estimator.get_params())
    return make_pipeline(FlatPixels(), estimator.set_params(**{each: _read(text) for each, text in values.items()}))


def fit_groups(estimator: BaseEstimator, groups: NDArray[Any] | None, index: NDArray[np.int64]) -> dict[str, Any]:
    """The groups of some images as an argument of `fit`, where it takes them."""
    return {} if groups is None or not has_fit_parameter(estimator, "groups") else {"groups": groups[index]}


def check_parameters(owner: str, names: Iterable[str], *, known: Iterable[str]) -> None:
    """Whether all names are known.

    Raises:
        TorchfinchError: one is not; it is told with the nearest that is.
    """
    known = list(known)
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1) or [
                each for each in known if each.lower() == name.lower()
            ]
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(known)}"
            raise TorchfinchError(f"{owner} has no parameter {name!r}", hint)


def check_seed(seed: int) -> None:
    """Whether every library takes it.

    Raises:
        TorchfinchError: one does not.
    """
    if not 0 <= seed < 2**32:
        raise TorchfinchError(f"the seed is {seed}", f"0 to {2**32 - 1}, which NumPy takes")


def seeded(estimator: BaseEstimator, seed: int) -> BaseEstimator:
    """The estimator itself, with `seed` in place of every `random_state` of `None`.

    Raises:
        TorchfinchError: the seed is too large, or below 0.
    """
    check_seed(seed)
    unset = [name for name, value in estimator.get_params().items() if name.endswith("random_state") and value is None]
    return estimator.set_params(**dict.fromkeys(unset, seed))


def parameters_of(estimator: BaseEstimator) -> dict[str, Any]:
    """All parameters, as JSON has them; a path by its name, so that a project may move."""
    return {name: _plain(value) for name, value in sorted(estimator.get_params().items())}


def _plain(value: Any) -> Any:
    if isinstance(value, (str, int, float, type(None))):
        return value
    if hasattr(value, "__qualname__"):  # a function, whose repr has its address
        return f"{value.__module__}.{value.__qualname__}"
    return value.name if isinstance(value, Path) else repr(value)


def _read(text: Any) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
