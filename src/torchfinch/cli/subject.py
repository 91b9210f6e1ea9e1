"""What `crossval` and `tune` are asked about: a recipe, or a scikit-learn estimator that is given a recipe's images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sklearn.base import BaseEstimator

    from torchfinch.training import Data, Recipe, Settings

Name = Annotated[
    str,
    typer.Argument(
        help="A recipe, a YAML file that names one, or with --data an estimator such as sklearn.svm.SVC.",
        metavar="RECIPE|CONFIG.yaml|ESTIMATOR",
        show_default=False,
    ),
]
Images = Annotated[str | None, typer.Option("--data", help="The recipe whose images an estimator is given.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting of the recipe, or a parameter of the estimator.", metavar="NAME=VALUE"),
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """An estimator with its images."""

    name: str
    """Of the recipe, or of the estimator's class."""
    estimator: BaseEstimator
    step: str
    """Before the name of a parameter: `svc__` where the estimator is the last step of a pipeline, else nothing."""
    data: Data
    code: str
    """Changes with the recipe's code; empty for estimators of a library."""
    config: Mapping[str, Any]
    """What a YAML file would have to name all of this."""
    search: Mapping[str, Any] = field(default_factory=dict)
    """The values to try that the YAML file names."""
    doubts: tuple[str, ...] = ()
    """A line for each setting without effect."""


def read_subject(name: str, *, data: str | None, setting: list[str] | None) -> Subject:
    """Find and configure what is named; a recipe's settings come from the file, the environment and `setting`.

    Raises:
        TorchfinchError: there is no such thing, a setting is wrong, or an estimator is given no images.
    """
    from torchfinch.cli.settings import pairs
    from torchfinch.training import from_environment, load_recipe, read_config
    from torchfinch.training.configure import without_effect

    if not data and name.startswith("sklearn."):
        raise TorchfinchError(f"{name} is given no images", "--data digits gives it those of a recipe")
    recipe_name, file = read_config(Path(name)) if name.endswith((".yaml", ".yml")) else (data or name, {})
    search, estimator = file.pop("search", {}), file.pop("estimator", name if data else None)
    if not isinstance(search, dict):
        raise TorchfinchError(f"{name}: search is {search!r}", "write NAME: VALUES below it")
    recipe = load_recipe(recipe_name)
    if estimator:
        values = {**file, **pairs(setting)}
        built = images_of(recipe, recipe.configure(from_environment()))
        return _of_estimator(estimator, values, recipe=recipe_name, data=built, search=search)
    values = {**file, **from_environment(), **pairs(setting)}
    config = recipe.configure(values)
    built = images_of(recipe, config)
    subject = _of_recipe(recipe.path, values, recipe=recipe_name, data=built, search=search)
    return replace(subject, doubts=tuple(without_effect(config, values)))


def images_of(recipe: Recipe, settings: Settings) -> Data:
    """The recipe's images, as `torchfinch train` gets them.

    Raises:
        TorchfinchError: the recipe cannot make them.
    """
    return recipe.made(settings)[0]


def _of_estimator(
    name: str, values: Mapping[str, Any], *, recipe: str, data: Data, search: Mapping[str, Any]
) -> Subject:
    from torchfinch.evaluation import load_estimator

    pipeline = load_estimator(name, values)
    return Subject(
        name=name.rpartition(".")[2],
        estimator=pipeline,
        step=f"{pipeline.steps[-1][0]}__",
        data=data,
        code="",
        config={"recipe": recipe, "estimator": name, **values},
        search=search,
    )


def _of_recipe(path: Path, values: Mapping[str, Any], *, recipe: str, data: Data, search: Mapping[str, Any]) -> Subject:
    from torchfinch.evaluation import code_digest
    from torchfinch.training.estimator import RecipeClassifier, RecipeRegressor

    kind = RecipeClassifier if data.train is None or data.train.classified else RecipeRegressor
    return Subject(
        name=path.stem,
        estimator=kind(path, values),
        step="",
        data=data,
        code=code_digest(path),
        config={"recipe": recipe, **values},
        search=search,
    )
