"""`torchfinch train`: from a recipe to a run folder and an archive."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchfinch.cli.pull import Uri
from torchfinch.cli.settings import pairs
from torchfinch.cli.stopping import stop_as_ctrl_c
from torchfinch.console import err, out, table
from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    from torchfinch.training import Recipe, Run


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A recipe in training/, such as digits, or the path of one; or a YAML file that names it.",
            metavar="RECIPE|CONFIG.yaml",
            show_default=False,
        ),
    ],
    version: Annotated[str, typer.Option(help="The model's version.")] = "1.0",
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set a field of the recipe's Config; may be given again.", metavar="NAME=VALUE"),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last epoch of an interrupted training.")] = False,
    runs: Annotated[Path, typer.Option(help="Where the run folder is left.")] = Path("runs"),
    output: Annotated[
        Path | None, typer.Option(dir_okay=False, help="The archive; model_store/NAME.mar if not given.")
    ] = None,
    listing: Annotated[bool, typer.Option("--settings", help="List the settings instead.")] = False,
    pack: Annotated[bool, typer.Option("--pack/--no-pack", help="Pack the run into an archive.")] = True,
    handler: Annotated[Path | None, typer.Option(help="A handler file; the stock one if not given.")] = None,
    track: Annotated[bool, typer.Option("--track", help="Keep the training in MLflow, at --registry.")] = False,
    uri: Uri = "sqlite:///mlflow.db",
) -> None:
    """Train a recipe, evaluate it, and pack it; prints the archive's path, or the run folder's with --no-pack.

    Settings come from the recipe, then the YAML file, then the environment (TORCHFINCH_TRAIN_EPOCHS=3), then --set.
    """
    from functools import partial

    from torchfinch.registry import tracking
    from torchfinch.training import rank
    from torchfinch.training import train as run_recipe
    from torchfinch.training.configure import without_effect

    loaded, sources = _read(recipe, pairs(setting))
    if listing:
        out.print(table(("setting", "value", ""), loaded.described(*sources)))
        return
    config = loaded.configure(*sources)
    for line in () if rank() else without_effect(config, *sources):
        err.print(line, markup=False, soft_wrap=True)
    output = output or Path("model_store") / f"{loaded.name}.mar"
    _check(loaded.name, version, handler=handler, output=output if pack else None)
    folder = runs / loaded.name
    tracked = uri if track and not rank() else None
    stop_as_ctrl_c()
    settings = config.model_dump(mode="json")
    with tracking(tracked, folder, recipe=loaded.name, fill=partial(_fill, folder), settings=settings) as told:
        start = perf_counter()
        run = run_recipe(loaded, config, runs=runs, resume=resume, told=told)
        if rank():
            return
        err.print(table(("result", ""), _rows(run, perf_counter() - start)))
        if pack:
            _pack(run.folder, name=loaded.name, version=version, output=output, handler=handler)
        print(output if pack else run.folder)


def _read(recipe: str, flags: dict[str, str]) -> tuple[Recipe, tuple[dict[str, Any], ...]]:
    """The recipe, and where its settings come from."""
    from torchfinch.training import from_environment, load_recipe, read_config

    name, file = read_config(Path(recipe)) if recipe.endswith((".yaml", ".yml")) else (recipe, {})
    for other, command in {"search": "tune", "estimator": "crossval"}.items():
        if other in file:
            raise TorchfinchError(f"{recipe} has `{other}`, which is not for train", f"torchfinch {command} {recipe}")
    return load_recipe(name), (file, from_environment(), flags)


def _check(name: str, version: str, *, handler: Path | None, output: Path | None) -> None:
    """Refuse before the training what packing would refuse after it."""
    from torchfinch.archive.sources import check_handler, check_name
    from torchfinch.files import check_place

    check_name(name)
    check_name(version, what="version")
    if handler:
        check_handler(handler)
    if output:
        check_place(output)


def _pack(run: Path, *, name: str, version: str, output: Path, handler: Path | None) -> None:
    from torchfinch.archive import pack_run

    try:
        pack_run(run, name=name, version=version, output=output, handler=handler)
    except (OSError, TorchfinchError) as error:
        why = f"{error.filename or output}: {error.strerror}" if isinstance(error, OSError) else str(error)
        again = f"{run} is whole: torchfinch pack {run} --version {version} --output ANOTHER.mar"
        raise TorchfinchError(why, again) from error
    size = output.stat().st_size / 1e6
    err.print(f"packed {name} {version}, {size:.1f} MB; next: torchfinch verify {output}")


def _fill(run: Path, folder: Path) -> None:
    """What is kept of a training beside its numbers: the page, and where it ran."""
    import json

    from torchfinch.cli.runs import write_page
    from torchfinch.report.environment import describe_environment

    write_page(run, folder)
    (folder / "environment.json").write_text(
        json.dumps(dict(describe_environment()), indent=1) + "\n", encoding="utf-8"
    )


def _rows(run: Run, seconds: float) -> list[tuple[str, str]]:
    return [*_scores(run), ("time", f"{seconds:.1f} s"), ("run", str(run.folder))]


def _scores(run: Run) -> list[tuple[str, str]]:
    from torchfinch.evaluation import Evaluation

    found = run.evaluation
    if isinstance(found, Evaluation):
        worst, metrics = found.worst
        return [
            ("test accuracy", f"{found.accuracy:.2%} of {found.samples} images"),
            ("cross-entropy", f"{found.cross_entropy:.4f}"),
            (
                "worst class",
                f"{worst}: F1 {metrics.f1:.4f}, precision {metrics.precision:.4f}, recall {metrics.recall:.4f}",
            ),
        ]
    if found:
        return [
            ("mean error", f"{found.mae:.4g} on {found.samples} test images (MAE)"),
            ("RMSE", f"{found.rmse:.4g}"),
            ("R²", f"{found.r2:.4f}"),
            ("Huber", f"{found.huber:.4g} (δ = 1)"),
        ]
    return [(entry["file"], _best(entry["expected"])) for entry in run.golden]


def _best(expected: dict[str, dict[str, float]]) -> str:
    """The class with its probability, or the numbers."""
    if "values" in expected:
        return ", ".join(f"{label} {value:.4g}" for label, value in expected["values"].items())
    label, probability = next(iter(expected["probabilities"].items()))
    return f"{label} {probability:.1%}"
