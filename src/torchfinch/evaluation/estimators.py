"""Any scikit-learn estimator where a recipe can stand: found by its dotted name, and given images as features."""

import ast
import difflib
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline, make_pipeline

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


def load_estimator(name: str, values: Mapping[str, str]) -> Pipeline:
    """An estimator by its dotted name, `sklearn.svm.SVC`, behind `FlatPixels`; values are text, as Python writes them.

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
    estimator = kind()
    known = estimator.get_params()
    for each in values:
        if each not in known:
            close = difflib.get_close_matches(each, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(known)}"
            raise TorchfinchError(f"{attribute} has no parameter {each!r}", hint)
    return make_pipeline(FlatPixels(), estimator.set_params(**{each: _read(text) for each, text in values.items()}))


def _read(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
