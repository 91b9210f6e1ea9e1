"""`torchfinch crossval`: how good a recipe, or any scikit-learn estimator, is over folds of the recipe's images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchfinch.console import err, out, table
from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from torchfinch.training import Data


def crossval(
    name: Annotated[
        str,
        typer.Argument(
            help="A recipe, a configuration file, or with --data an estimator such as sklearn.svm.SVC.",
            show_default=False,
        ),
    ],
    data: Annotated[str | None, typer.Option(help="The recipe whose images an estimator is given.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set a field of the recipe, or a parameter of the estimator.", metavar="NAME=VALUE"),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Parts, each of which is the test of one training.")] = 5,
    stratified: Annotated[
        bool, typer.Option("--stratified/--no-stratified", help="The same share of every class in every fold.")
    ] = True,
    with_test: Annotated[
        bool, typer.Option("--with-test", help="Use the recipe's test images, too: when nothing more is chosen.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds, and of an estimator's random_state.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Folds at a time, each in a process of its own.")] = 1,
    output: Annotated[
        Path | None, typer.Option(help="Where finished folds are kept; reports/crossval/NAME if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print plan, folds and summary as JSON.")] = False,
) -> None:
    """Train on all folds but one and test on that one, for each fold; prints mean and standard deviation.

    The same command again goes on with the folds that are not finished; a changed one begins afresh.
    """
    from torchfinch.cli.settings import pairs
    from torchfinch.evaluation import cross_validate, load_estimator
    from torchfinch.files import sha256
    from torchfinch.training import load_recipe, read_config
    from torchfinch.training.estimator import RecipeClassifier, RecipeRegressor

    if not data and name.startswith("sklearn."):
        raise TorchfinchError(f"{name} is given no images", "--data digits gives it those of a recipe")
    recipe, config = read_config(Path(name)) if name.endswith((".yaml", ".yml")) else (data or name, {})
    values = {**config, **pairs(setting)}
    loaded = load_recipe(recipe)
    built = loaded.build(loaded.configure({} if data else values))[0]
    images, targets = _everything(built, with_test=with_test)
    kind = RecipeRegressor if targets.dtype.kind == "f" else RecipeClassifier
    estimator = load_estimator(name, values) if data else kind(loaded.path, values)
    called = name.rpartition(".")[2] if data else loaded.name
    folder = output or Path("reports") / "crossval" / called
    result = cross_validate(
        estimator,
        images,
        targets,
        name=called,
        folds=folds,
        stratified=stratified,
        seed=seed,
        jobs=jobs,
        folder=folder,
        code="" if data else sha256(loaded.path),
    )
    err.print(f"{called}: {result.plan.samples} images, {folds} folds in {folder}")
    if as_json:
        out.print_json(data=result.to_dict())
        return
    rows = [_row(metric, result.mean(metric), result.sd(metric), result.scores(metric)) for metric in result.metrics]
    out.print(table(("", "mean", "± sd", "lowest", "highest"), rows))


def _everything(data: Data, *, with_test: bool) -> tuple[NDArray[np.uint8], NDArray[Any]]:
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
    return images, targets[:, 0] if targets.shape[1:] == (1,) else targets


def _row(metric: str, mean: float, sd: float, scores: NDArray[np.float64]) -> tuple[str, ...]:
    return (metric.replace("_", " "), *(f"{value:.4f}" for value in (mean, sd, scores.min(), scores.max())))
