"""`torchfinch crossval`: how good a recipe, or any scikit-learn estimator, is over folds of the recipe's images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchfinch.cli.stopping import stop_as_ctrl_c
from torchfinch.cli.subject import Images, Name, Set, read_subject
from torchfinch.console import err, out, table
from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from torchfinch.training import Data


def crossval(
    name: Name,
    data: Images = None,
    setting: Set = None,
    folds: Annotated[int, typer.Option(min=2, help="Parts, each of which is the test of one training.")] = 5,
    stratified: Annotated[
        bool, typer.Option("--stratified/--no-stratified", help="The same share of every class in every fold.")
    ] = True,
    with_test: Annotated[
        bool, typer.Option("--with-test", help="Use the recipe's test images, too: when nothing more is chosen.")
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Of the folds, and of an estimator's random_state.")
    ] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Folds at a time, each in a process of its own.")] = 1,
    output: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Where finished folds are kept; reports/crossval/NAME if not given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print plan, folds and summary as JSON.")] = False,
) -> None:
    """Train on all folds but one and test on that one, for each fold; prints mean and standard deviation.

    The same command again goes on with the folds that are not finished; a changed one begins afresh.
    """
    from torchfinch.evaluation import cross_validate

    subject = read_subject(name, data=data, setting=setting)
    for line in subject.doubts:
        err.print(line, markup=False, soft_wrap=True)
    images, targets, groups = _everything(subject.data, with_test=with_test)
    folder = output or Path("reports") / "crossval" / subject.name
    stop_as_ctrl_c()
    result = cross_validate(
        subject.estimator,
        images,
        targets,
        groups=groups,
        name=subject.name,
        folds=folds,
        stratified=stratified,
        seed=seed,
        jobs=jobs,
        folder=folder,
        code=subject.code,
        labels=subject.data.labels if subject.data.train and subject.data.train.classified else (),
    )
    err.print(f"{subject.name}: {result.plan.samples} images, {folds} folds in {folder}")
    if as_json:
        out.print_json(data=result.to_dict())
        return
    rows = [_row(metric, result.mean(metric), result.sd(metric), result.scores(metric)) for metric in result.metrics]
    out.print(table(("", "mean", "± sd", "lowest", "highest"), rows))


def _everything(data: Data, *, with_test: bool) -> tuple[NDArray[np.uint8], NDArray[Any], NDArray[np.int64] | None]:
    import numpy as np

    parts = [part for part in (data.train, data.validation, data.test if with_test else None) if part is not None]
    if data.train is None:
        raise TorchfinchError("the recipe gives no images", "take one that is fitted to some, such as digits")
    images = np.concatenate([part.pixels.numpy() for part in parts])
    targets = np.concatenate([part.targets.numpy() for part in parts])
    if data.train.classified:
        empty = set(range(len(data.labels))) - set(targets.tolist())
        if empty:
            label = data.labels[min(empty)]
            raise TorchfinchError(f"the class {label} has no images", "remove it from the labels, or add images")
    known = [part.groups.numpy() for part in parts if part.groups is not None]
    groups = np.concatenate(known) if len(known) == len(parts) else None
    return images, targets[:, 0] if targets.shape[1:] == (1,) else targets, groups


def _row(metric: str, mean: float, sd: float, scores: NDArray[np.float64]) -> tuple[str, ...]:
    return (metric.replace("_", " "), *(f"{value:.4f}" for value in (mean, sd, scores.min(), scores.max())))
