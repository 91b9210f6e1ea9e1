"""What is tuned: an estimator, the examples it learns from, and how its candidates are judged.

Tuning sees no more than scikit-learn's protocol; a recipe is wrapped into it.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import KFold, StratifiedKFold

from torchfinch.errors import TorchfinchError
from torchfinch.training import Recipe
from torchfinch.training.estimator import RecipeClassifier

Values = Mapping[str, Any]
"""Value by name of a setting."""
Split = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Indices of the examples to learn from, and of those to be judged by."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """An estimator, its examples, and what makes a candidate good."""

    name: str
    """Of the study."""
    estimator: Any
    """Anything with scikit-learn's `fit`, `predict` and `set_params`."""
    examples: NDArray[Any]
    targets: NDArray[Any]
    splits: tuple[Split, ...]
    """One for every fold."""
    metric: str | None
    """A scorer of scikit-learn, of which more is better; `None` is the estimator's own."""
    identity: Values
    """What must stay the same for scores of two days to be compared, as JSON."""

    def candidate(self, values: Values) -> Any:
        """The estimator with these values, not yet fitted.

        Raises:
            TorchfinchError: it takes no such value.
        """
        try:
            return clone(self.estimator).set_params(**values)
        except ValueError as error:
            raise TorchfinchError(f"{self.name}: {error}") from error

    def scorer(self, estimator: Any) -> Callable[..., float]:
        """Scores a fitted estimator on examples.

        Raises:
            TorchfinchError: there is no such metric.
        """
        try:
            return check_scoring(estimator, self.metric)  # type: ignore[no-any-return]
        except ValueError as error:
            names = "accuracy, balanced_accuracy, f1_macro, neg_log_loss or roc_auc_ovr"
            raise TorchfinchError(f"there is no metric {self.metric!r}", f"such as {names}") from error

    def scores(self, values: Values) -> Iterator[float]:
        """Fit a candidate once for every fold, and yield its score in each."""
        for learn, judge in self.splits:
            estimator = self.candidate(values)
            estimator.fit(self.examples[learn], self.targets[learn])
            yield float(self.scorer(estimator)(estimator, self.examples[judge], self.targets[judge]))


def estimator_problem(
    estimator: Any,
    examples: NDArray[Any],
    targets: NDArray[Any],
    *,
    folds: int = 5,
    metric: str | None = None,
    seed: int = 0,
) -> Problem:
    """Any scikit-learn estimator, judged by cross-validation; settings are named as its `set_params` names them.

    The folds are shuffled by `seed`, and a classifier's have the same share of every class.

    Raises:
        TorchfinchError: the examples cannot be shared out into so many folds.
    """
    return Problem(
        name=type(estimator).__name__,
        estimator=estimator,
        examples=examples,
        targets=targets,
        splits=_share_out(targets, folds=folds, classes=is_classifier(estimator), seed=seed),
        metric=metric,
        identity=_identity(repr(estimator), examples, targets, folds=folds, metric=metric, seed=seed),
    )


def recipe_problem(
    recipe: Recipe, settings: Values, *, folds: int | None = None, metric: str | None = None, seed: int = 0
) -> Problem:
    """A recipe with some of its settings given; its test images are not looked at.

    Candidates are fitted to the recipe's training images and judged by its validation images, or, with `folds`, by
    cross-validation on both together.

    Raises:
        TorchfinchError: the recipe has nothing to fit, a setting is wrong, or there are too few images for the folds.
    """
    estimator = RecipeClassifier(recipe.path, dict(settings))
    config = recipe.configure(settings)
    data = recipe.build(config)[0]
    if data.train is None or data.validation is None:
        raise TorchfinchError(f"the recipe {recipe.name} has nothing to fit", "give Data(train=..., validation=...)")
    examples = torch.cat([data.train.pixels, data.validation.pixels]).numpy()
    targets = torch.cat([data.train.targets, data.validation.targets]).numpy()
    everything = np.arange(len(targets))
    own = (everything[: len(data.train)], everything[len(data.train) :])
    return Problem(
        name=recipe.name,
        estimator=estimator,
        examples=examples,
        targets=targets,
        splits=_share_out(targets, folds=folds, classes=True, seed=seed) if folds else (own,),
        metric=metric,
        identity=_identity(config.model_dump(mode="json"), examples, targets, folds=folds, metric=metric, seed=seed),
    )


def _share_out(targets: NDArray[Any], *, folds: int, classes: bool, seed: int) -> tuple[Split, ...]:
    least = min(np.unique(targets, return_counts=True)[1]) if classes else len(targets)
    if not 2 <= folds <= least:
        whose = "of the rarest class" if classes else "in all"
        raise TorchfinchError(f"no {folds} folds of {least} examples {whose}", f"--folds takes 2 to {least}")
    splitter = (StratifiedKFold if classes else KFold)(folds, shuffle=True, random_state=seed)
    return tuple(splitter.split(np.zeros(len(targets)), targets))


def _identity(
    settings: Any, examples: NDArray[Any], targets: NDArray[Any], *, folds: int | None, metric: str | None, seed: int
) -> Values:
    data = hashlib.sha256(examples.tobytes() + targets.tobytes()).hexdigest()
    return {"settings": settings, "data": data, "folds": folds, "seed": seed, "metric": metric}
