"""k-fold cross-validation of anything with scikit-learn's `fit` and `predict`: resumable, and in parallel processes."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone, is_regressor
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.utils.parallel import Parallel, delayed

from torchfinch.console import err, progress
from torchfinch.errors import TorchfinchError
from torchfinch.evaluation.estimators import fit_groups, parameters_of, seeded
from torchfinch.evaluation.folds import CrossValidation, Fold, Plan, begin, keep
from torchfinch.evaluation.scoring import fold_scores

Array = NDArray[Any]


def cross_validate(
    estimator: BaseEstimator,
    images: ArrayLike,
    targets: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    name: str | None = None,
    folds: int = 5,
    stratified: bool = True,
    seed: int = 0,
    jobs: int = 1,
    folder: Path | None = None,
    code: str = "",
    labels: Sequence[str] = (),
) -> CrossValidation:
    """Train a clone of `estimator` on all folds but one and test it on that one, for each of `folds` shuffled folds.

    With `stratified`, every fold has the same share of every class; with `groups`, a number for each image, images of
    one number are in one fold. An estimator's `random_state` of `None` becomes
    the seed. With a `folder`, finished folds are kept there and are not run again, unless anything of the `Plan`
    changed; `code` is for what it cannot see. `labels` name the classes in errors.
    `jobs` folds run at a time, each in a process of its own if more than 1.

    Raises:
        TorchfinchError: there are too few images for the folds, or the estimator failed.
    """
    images, targets = np.asarray(images), np.asarray(targets)
    groups = None if groups is None else np.asarray(groups)
    estimator = seeded(clone(estimator), seed)
    plan = Plan(
        name=name or type(estimator).__name__,
        parameters=parameters_of(estimator),
        code=code,
        data=_digest(*(values for values in (images, targets, groups) if values is not None)),
        samples=len(targets),
        folds=folds,
        stratified=stratified and not is_regressor(estimator),
        grouped=groups is not None,
        seed=seed,
    )
    _check(plan, targets, groups, labels)
    done = begin(plan, folder) if folder else {}
    if done:
        err.print(f"{folder} holds {len(done)} of {folds} folds already")
    with _told_what_is_kept(done, folder), progress() as bar:
        task = bar.add_task(plan.name, total=folds, completed=len(done))
        parts = [part for part in enumerate(_parts(plan, targets, groups), start=1) if part[0] not in done]
        for fold in _train(estimator, images, targets, groups, parts=parts, jobs=jobs):
            done[fold.number] = fold
            if folder:
                keep(fold, folder, plan)
            bar.advance(task)
            err.print(str(fold))
    return CrossValidation(plan, tuple(done[number] for number in sorted(done)))


def contents(values: Array) -> bytes:
    """What an array holds, the same in every process: of objects, such as text of pandas, their `repr`."""
    return repr(values.tolist()).encode() if values.dtype.hasobject else values.tobytes()


def _check(plan: Plan, targets: Array, groups: Array | None, labels: Sequence[str]) -> None:
    count, what = (len(targets), "images") if groups is None else (len(np.unique(groups)), "groups of images")
    if not 2 <= plan.folds <= count:
        raise TorchfinchError(f"{count} {what} make no {plan.folds} folds", "two folds or more, something in each")
    if not plan.stratified:
        return
    label, count = min(Counter(targets.tolist()).items(), key=lambda item: item[1])
    if count < plan.folds:
        way_out = f"--folds {max(count, 2)}, more images, or --no-stratified"
        name = labels[label] if labels else label
        raise TorchfinchError(f"class {name} has {count} images, fewer than {plan.folds} folds", way_out)


@contextmanager
def _told_what_is_kept(done: Collection[int], folder: Path | None) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        kept = f"folds {', '.join(map(str, sorted(done)))} are kept in {folder}" if done else "no fold had ended"
        if folder:
            err.print(f"{kept}; the same command goes on with the others", markup=False, soft_wrap=True)
        raise


def _parts(plan: Plan, targets: Array, groups: Array | None) -> Iterator[tuple[Array, Array]]:
    """Places to train on and to test on, for each fold."""
    kinds = (GroupKFold, StratifiedGroupKFold) if plan.grouped else (KFold, StratifiedKFold)
    folds = kinds[plan.stratified](plan.folds, shuffle=True, random_state=plan.seed)
    return iter(folds.split(targets, targets, groups))


def _train(
    estimator: BaseEstimator,
    images: Array,
    targets: Array,
    groups: Array | None,
    *,
    parts: list[tuple[int, tuple[Array, Array]]],
    jobs: int,
) -> Iterator[Fold]:
    """The numbered parts, as they end."""
    quiet = jobs > 1 or not err.is_terminal
    work = (
        delayed(_run)(estimator, images, targets, groups, number=number, train=train, test=test, quiet=quiet)
        for number, (train, test) in parts
    )
    try:
        yield from Parallel(n_jobs=jobs, return_as="generator_unordered")(work)
    except BrokenProcessPool as error:
        killed = "the process of a fold was killed, perhaps for want of memory"
        raise TorchfinchError(killed, "the same command goes on; fewer --jobs take less memory") from error


def _run(
    estimator: BaseEstimator,
    images: Array,
    targets: Array,
    groups: Array | None,
    *,
    number: int,
    train: Array,
    test: Array,
    quiet: bool,
) -> Fold:
    start = perf_counter()
    try:
        with _silence(quiet):
            fitted = clone(estimator).fit(images[train], targets[train], **fit_groups(estimator, groups, train))
            scores = fold_scores(fitted, images[test], targets[test])
    except TorchfinchError as error:
        raise TorchfinchError(f"fold {number}: {error.message}", error.hint) from error
    except Exception as error:  # estimators raise what they like at what they refuse
        raise TorchfinchError(f"fold {number}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    return Fold(number, trained_on=len(train), tested_on=len(test), seconds=perf_counter() - start, scores=scores)


@contextmanager
def _silence(quiet: bool) -> Iterator[None]:
    before, err.quiet = err.quiet, quiet
    try:
        yield
    finally:
        err.quiet = before


def _digest(images: Array, targets: Array, *others: Array) -> str:
    digest = hashlib.sha256(f"{images.dtype}{images.shape}{targets.dtype}".encode())
    for values in (images, targets, *others):
        digest.update(contents(values))
    return digest.hexdigest()
