"""What cross-validation finds, kept as one JSON file for the plan and one for each fold."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchfinch.console import err
from torchfinch.errors import TorchfinchError
from torchfinch.files import write_whole

LOWER_IS_BETTER = frozenset({"cross_entropy", "mae", "rmse"})
_PLAN = "crossval.json"


@dataclass(frozen=True)
class Plan:
    """All that decides the folds' scores; two plans that are equal give the same ones on one machine."""

    name: str
    """Of the recipe, or of the estimator's class."""
    parameters: Mapping[str, Any]
    """Of the estimator, as JSON has them."""
    code: str
    """Changes with the recipe's code; empty for estimators of a library."""
    data: str
    """SHA-256 of images and targets."""
    samples: int
    folds: int
    stratified: bool
    grouped: bool
    """Whether images of one group are in one fold."""
    seed: int
    """Of the shuffle that makes the folds, and of estimators that have a `random_state`."""

    def digest(self) -> str:
        """SHA-256, by which a fold says of which plan it is."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()

    def same_folds(self, other: "Plan") -> bool:
        """Whether both train and test on the same images, fold by fold."""
        fields = ("data", "samples", "folds", "stratified", "grouped", "seed")
        return all(getattr(self, field) == getattr(other, field) for field in fields)


@dataclass(frozen=True)
class Fold:
    """One training on all folds but this one, and its test on this one."""

    number: int
    """Counted from 1."""
    trained_on: int
    tested_on: int
    seconds: float
    scores: Mapping[str, float]

    def __str__(self) -> str:
        metric, score = next(iter(self.scores.items()))
        return f"fold {self.number}: {metric} {score:.4f}, {self.seconds:.1f} s"


@dataclass(frozen=True)
class CrossValidation:
    """The folds of a plan, in their order."""

    plan: Plan
    folds: tuple[Fold, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is known of every fold."""
        return tuple(self.folds[0].scores)

    @property
    def test_share(self) -> float:
        """Tested images per trained one, mean over the folds: the overlap that the corrected t-test takes in."""
        return float(np.mean([fold.tested_on / fold.trained_on for fold in self.folds]))

    def scores(self, metric: str) -> NDArray[np.float64]:
        """One score per fold.

        Raises:
            TorchfinchError: there is no such metric.
        """
        if metric not in self.metrics:
            raise TorchfinchError(f"{self.plan.name} has no {metric!r}", f"it has {', '.join(self.metrics)}")
        return np.array([fold.scores[metric] for fold in self.folds])

    def mean(self, metric: str) -> float:
        """Over the folds."""
        return float(self.scores(metric).mean())

    def sd(self, metric: str) -> float:
        """Standard deviation of a fold, with k - 1 below the line; the mean's own error is not this over root k."""
        return float(self.scores(metric).std(ddof=1))

    def to_dict(self) -> dict[str, Any]:
        """Plan, folds, and mean and standard deviation by metric, for JSON."""
        summary = {metric: {"mean": self.mean(metric), "sd": self.sd(metric)} for metric in self.metrics}
        return {**asdict(self.plan), "summary": summary, "folds": [asdict(fold) for fold in self.folds]}


def begin(plan: Plan, folder: Path) -> dict[int, Fold]:
    """The folds of `plan` that `folder` already holds; those of another plan are removed.

    Raises:
        TorchfinchError: the folder holds something else.
    """
    text = json.dumps(asdict(plan), indent=1) + "\n"
    path = folder / _PLAN
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return {fold.number: fold for fold in _finished(folder, plan)}
    if folder.exists() and not path.is_file() and any(not each.name.startswith(".") for each in folder.iterdir()):
        raise TorchfinchError(f"{folder} holds no cross-validation", "choose another folder with --output")
    stale = list(folder.glob("fold-*.json"))
    if stale:
        err.print(
            f"{folder} holds {len(stale)} folds of other settings or data: they are removed; --output keeps both",
            soft_wrap=True,
        )
    for each in stale:
        each.unlink()
    write_whole(path, text)
    return {}


def keep(fold: Fold, folder: Path, plan: Plan) -> None:
    """Write the result of a fold of `plan`, whole or not at all."""
    text = json.dumps({**asdict(fold), "plan": plan.digest()}, indent=1) + "\n"
    write_whole(folder / f"fold-{fold.number}.json", text)


def read_cross_validation(folder: Path) -> CrossValidation:
    """A finished cross-validation from its folder.

    Raises:
        TorchfinchError: the folder holds none, or one that is not finished.
    """
    try:
        plan = Plan(**json.loads((folder / _PLAN).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise TorchfinchError(f"{folder} holds no cross-validation", "torchfinch crossval makes one") from error
    folds = tuple(_finished(folder, plan))
    if len(folds) < plan.folds:
        raise TorchfinchError(
            f"{folder} holds {len(folds)} of {plan.folds} folds", "the same torchfinch crossval goes on with the others"
        )
    return CrossValidation(plan, folds)


def _finished(folder: Path, plan: Plan) -> Iterable[Fold]:
    for number in range(1, plan.folds + 1):
        try:
            content = dict(json.loads((folder / f"fold-{number}.json").read_text(encoding="utf-8")))
            if content.pop("plan") == plan.digest():  # else a cross-validation at the same time wrote it
                yield Fold(**content)
        except (OSError, ValueError, TypeError, KeyError):  # not there, or not ours: it is run again
            continue
