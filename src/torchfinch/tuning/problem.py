"""What is tuned: an estimator, the examples it learns from, and how its candidates are judged.

Tuning sees no more than scikit-learn's protocol.
"""

import difflib
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.metrics import check_scoring, get_scorer_names
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.utils.validation import has_fit_parameter

from torchfinch.errors import TorchfinchError
from torchfinch.evaluation.crossval import contents
from torchfinch.evaluation.estimators import check_parameters, check_seed, fit_groups, parameters_of, seeded
from torchfinch.training import Data

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
    step: str
    """Before the name of a value: `svc__` where it is set in that step of a pipeline, else nothing."""
    examples: NDArray[Any]
    targets: NDArray[Any]
    groups: NDArray[np.int64] | None
    """A number for each example; those of one number stay together, also where a fit chooses an epoch by some."""
    splits: tuple[Split, ...]
    """One for every fold."""
    metric: str | None
    """A scorer of scikit-learn, of which more is better; `None` is the estimator's own `score`."""
    identity: Values
    """What must stay the same for scores of two days to be compared, as JSON."""

    def candidate(self, values: Values) -> Any:
        """The estimator with these values, not yet fitted.

        Raises:
            TorchfinchError: it takes no such value.
        """
        known = [name.removeprefix(self.step) for name in self.estimator.get_params() if name.startswith(self.step)]
        check_parameters(self.name, values, known=known)
        return clone(self.estimator).set_params(**{self.step + name: value for name, value in values.items()})

    def scorer(self, estimator: Any) -> Callable[..., float]:
        """Scores a fitted estimator on examples.

        Raises:
            TorchfinchError: there is no such metric.
        """
        try:
            return check_scoring(estimator, self.metric)  # type: ignore[no-any-return]
        except ValueError as error:
            close = difflib.get_close_matches(str(self.metric), get_scorer_names(), n=1)
            hint = f"did you mean {close[0]}?" if close else "such as accuracy, f1_macro, neg_log_loss or r2"
            raise TorchfinchError(f"there is no metric {self.metric!r}", hint) from error

    def patience(self, values: Values) -> int:
        """The fold, or epoch where it is fitted only once, after which it may be given up: 2, or a third of its epochs.

        In the first epochs the learning rate rises, and they say little.
        """
        params = {**self.estimator.get_params(), **values}
        return max(2, math.ceil(params.get("epochs", 0) / 3)) if len(self.splits) == 1 else 2

    def scores(self, values: Values, told: Callable[[float], None]) -> Iterator[float]:
        """Fit a candidate once for every fold, and yield its score in each.

        Where it is fitted only once, and its `fit` tells of epochs, `told` hears the score after each of them.
        """
        for learn, judge in self.splits:
            estimator = self.candidate(values)
            score = partial(self.scorer(estimator), estimator, self.examples[judge], self.targets[judge])
            by_epoch = len(self.splits) == 1 and has_fit_parameter(estimator, "told")
            listening = {"told": lambda _epoch, score=score: told(float(score()))} if by_epoch else {}
            grouped = fit_groups(estimator, self.groups, learn)
            estimator.fit(self.examples[learn], self.targets[learn], **grouped, **listening)
            yield float(score())


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

    The folds are shuffled by `seed`, and a classifier's have the same share of every class. A `random_state` of `None`
    becomes the seed. Without a `metric`, classifiers are judged by accuracy and regressors by R².

    Raises:
        TorchfinchError: the examples cannot be shared out into so many folds, or the seed is no such number.
    """
    return _problem(
        estimator,
        examples,
        targets,
        name=type(estimator).__name__,
        splits=_share_out(targets, None, folds=folds, classes=is_classifier(estimator), seed=seed),
        metric=metric,
        seed=seed,
        identity={"folds": folds},
    )


def images_problem(
    estimator: Any,
    data: Data,
    *,
    name: str,
    step: str = "",
    code: str = "",
    folds: int | None = None,
    metric: str | None = None,
    seed: int = 0,
) -> Problem:
    """A recipe wrapped as an estimator, or any other, on a recipe's images; its test images are not looked at.

    Candidates are fitted to the training images and judged by the validation images, or, with `folds`, by
    cross-validation on both together, where images of one group stay in one fold. Settings are those of the
    estimator's `step`, such as `svc__`, if one is named.

    Raises:
        TorchfinchError: there are no such images, or too few for the folds.
    """
    if data.train is None or data.validation is None:
        raise TorchfinchError(f"{name} is given nothing to learn from", "give Data(train=..., validation=...)")
    examples = torch.cat([data.train.pixels, data.validation.pixels]).numpy()
    targets = torch.cat([data.train.targets, data.validation.targets]).numpy()
    targets = targets[:, 0] if targets.shape[1:] == (1,) else targets
    groups = _groups(data)
    everything = np.arange(len(targets))
    own = (everything[: len(data.train)], everything[len(data.train) :])
    return _problem(
        estimator,
        examples,
        targets,
        name=name,
        step=step,
        groups=groups,
        splits=_share_out(targets, groups, folds=folds, classes=data.train.classified, seed=seed) if folds else (own,),
        metric=metric,
        seed=seed,
        identity={"folds": folds, "code": code, **({} if groups is None or not folds else {"grouped": True})},
    )


def _problem(
    estimator: Any,
    examples: NDArray[Any],
    targets: NDArray[Any],
    *,
    name: str,
    splits: tuple[Split, ...],
    metric: str | None,
    seed: int,
    identity: Values,
    groups: NDArray[np.int64] | None = None,
    step: str = "",
) -> Problem:
    estimator = seeded(clone(estimator), seed)
    measured = metric or _own_metric(estimator)
    data = hashlib.sha256(contents(examples) + contents(targets)).hexdigest()
    settings = parameters_of(estimator)
    return Problem(
        name=name,
        estimator=estimator,
        step=step,
        examples=examples,
        targets=targets,
        groups=groups,
        splits=splits,
        metric=measured,
        identity={"settings": settings, "data": data, "seed": seed, "metric": measured, **identity},
    )


def _own_metric(estimator: Any) -> str | None:
    if is_classifier(estimator):
        return "accuracy"
    return "r2" if is_regressor(estimator) else None


def _groups(data: Data) -> NDArray[np.int64] | None:
    known = [part.groups for part in (data.train, data.validation) if part and part.groups is not None]
    return torch.cat(known).numpy() if len(known) == 2 else None


def _share_out(
    targets: NDArray[Any], groups: NDArray[np.int64] | None, *, folds: int, classes: bool, seed: int
) -> tuple[Split, ...]:
    check_seed(seed)
    least = min(np.unique(targets, return_counts=True)[1]) if classes else len(targets)
    least = least if groups is None else min(least, len(np.unique(groups)))
    if not 2 <= folds <= least:
        whose = "of the rarest class" if classes else "in all"
        raise TorchfinchError(f"no {folds} folds of {least} examples {whose}", f"--folds takes 2 to {least}")
    kinds = (KFold, StratifiedKFold) if groups is None else (GroupKFold, StratifiedGroupKFold)
    splitter = kinds[classes](folds, shuffle=True, random_state=seed)
    return tuple(splitter.split(np.zeros(len(targets)), targets, groups))
