"""`torchfinch evaluate`: how good a run or an archive is, on its recipe's test images or on a folder of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.cells import cell_len

from torchfinch.console import err, out, table
from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from torchfinch.evaluation import Evaluation, Model, RegressionEvaluation

_MOST_CLASSES = 20
_RATIOS = ("precision", "recall", "specificity", "f1")


def evaluate(
    model: Annotated[Path, typer.Argument(help="A run folder, or an archive.", show_default=False)],
    data: Annotated[
        str | None,
        typer.Option(
            help="A folder with a folder of images for each class, or a recipe whose test images are used; "
            "that of the training if not given."
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write one page with plots and the worst mistakes.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """Measure a trained model; a file that is no image is left out and named, and the exit code is 1."""
    from torchfinch.evaluation import evaluate as judge
    from torchfinch.evaluation import evaluate_regression, load_model, outputs

    loaded = load_model(model)
    tested = test_images(loaded, data)
    rows = outputs(loaded.network, tested.pixels, preprocessing=loaded.preprocessing)
    result: Evaluation | RegressionEvaluation
    if loaded.regression:
        result = evaluate_regression(tested.targets, rows)
    else:
        rows = rows.softmax(dim=1)
        result = judge(tested.targets, rows, labels=loaded.labels)
    if as_json:
        out.print_json(data={**result.to_dict(), **_curves(result, tested, rows)})
    else:
        _show(result)
    if html:
        _write_page(html, loaded, tested, rows, result)
    if tested.faults:
        raise typer.Exit(1)


@dataclass(frozen=True, eq=False)
class Tested:
    """Images with their targets, where they come from, and what could not be read."""

    pixels: Tensor
    targets: Tensor
    source: str
    faults: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """Of files, within their folder; empty where the images are not files."""


def test_images(model: Model, data: str | None) -> Tested:
    """The images that `--data` names; faults are told on stderr.

    Raises:
        TorchfinchError: there are none, or they are not for this model.
    """
    from torchfinch.evaluation import read_folder

    if data and Path(data).is_dir():
        read = read_folder(Path(data), labels=model.labels, preprocessing=model.preprocessing)
        for fault in read.faults:
            err.print(f"left out: {fault}", markup=False, soft_wrap=True)
        if _trained_on(model, Path(data)):
            err.print(
                f"{model.name} was trained on images of {data}: most are no test of it", markup=False, soft_wrap=True
            )
        names = tuple(str(path.relative_to(data)) for path in read.paths)
        return Tested(read.pixels, read.targets, f"{len(read.targets):,} images of {data}", read.faults, names)
    if data:
        _check_recipe(data)
        return _of_recipe(data, model)
    name = model.lineage.get("recipe")
    if not name:
        raise TorchfinchError(f"{model.name} does not say what it was trained on", "name images with --data")
    try:
        return _of_recipe(name, model)
    except TorchfinchError as error:  # of a recipe that was given by its path, the name is all that is known
        hints = (error.hint, f"--data path/to/{name}.py names a recipe of another place")
        raise TorchfinchError(error.message, "; ".join(filter(None, hints))) from error


def _trained_on(model: Model, data: Path) -> bool:
    """Whether the training was given this folder, or one whose training part it is."""
    folder = (model.lineage.get("config") or {}).get("folder")
    return folder is not None and data.resolve() in {Path(folder).resolve(), (Path(folder) / "train").resolve()}


def _check_recipe(name: str) -> None:
    from torchfinch.training import recipe_names

    if name not in recipe_names() and not Path(name).is_file():
        raise TorchfinchError(
            f"there is neither a folder {name} nor such a recipe", f"recipes by name: {', '.join(recipe_names())}"
        )


def _of_recipe(name: str, model: Model) -> Tested:
    from torchfinch.cli.subject import images_of
    from torchfinch.training import load_recipe

    recipe, lineage = load_recipe(name), model.lineage
    own = recipe.name == lineage.get("recipe")
    try:
        config = recipe.configure(lineage.get("config") or {} if own else {})
    except TorchfinchError as error:
        another = f"{model.name} was trained by another {recipe.name}: " if own else ""
        raise TorchfinchError(f"{another}{error.message}", "--data FOLDER names images themselves") from error
    built = images_of(recipe, config)
    if built.test is None or built.labels != model.labels:
        what = "has no test images" if built.test is None else f"has other labels than {model.name}"
        raise TorchfinchError(f"the recipe {recipe.name} {what}", "name other images with --data")
    _check_size(built.test.pixels, recipe.name, model)
    if own and lineage.get("data_digest") not in {None, built.digest()}:
        err.print(f"{model.name} was trained on other images than {recipe.name} gives now: some may be tested here")
    return Tested(built.test.pixels, built.test.targets, f"{len(built.test):,} test images of {recipe.name}")


def _check_size(pixels: Tensor, recipe: str, model: Model) -> None:
    given, taken = tuple(pixels.shape[1:]), (model.preprocessing.channels, *model.preprocessing.size)
    if given != taken:
        raise TorchfinchError(
            f"test images of the recipe {recipe} have the shape {given}, and {model.name} takes {taken}",
            "--data FOLDER, whose images are resized",
        )


def _curves(result: Evaluation | RegressionEvaluation, tested: Tested, rows: Tensor) -> dict[str, Any]:
    """ROC, and precision over recall, of the classes that are told apart worst."""
    from dataclasses import asdict

    from torchfinch.evaluation import Evaluation
    from torchfinch.evaluation.curves import precision_recall_curves, roc_curves, told_apart_worst

    if not isinstance(result, Evaluation):
        return {}
    classes = told_apart_worst(result)[:_MOST_CLASSES]
    kinds = {"roc": roc_curves, "precision_recall": precision_recall_curves} if classes else {}
    targets, probabilities = tested.targets.numpy(), rows.numpy()
    return {
        "curves": {
            kind: [asdict(curve) for curve in curves(targets, probabilities, labels=result.labels, classes=classes)]
            for kind, curves in kinds.items()
        }
    }


def _show(result: Evaluation | RegressionEvaluation) -> None:
    numbers: dict[str, Any] = dict(result.to_dict())
    scalars = {name: value for name, value in numbers.items() if isinstance(value, int | float)}
    out.print(table(("", ""), [(_titled(name), _text(value)) for name, value in scalars.items()]))
    if "per_class" in numbers:
        _show_rows("averages", list(numbers["averages"].items()), _RATIOS)
        _show_classes(numbers["per_class"])
        _show_confusion(numbers["labels"], numbers["confusion_matrix"])


def _show_classes(per_class: Mapping[str, Mapping[str, Any]]) -> None:
    seen = sorted(per_class.items(), key=lambda item: float(item[1]["f1"]))
    known = [(label, metrics) for label, metrics in seen if metrics["support"]]
    all_shown = len(known) <= _MOST_CLASSES
    title = "classes, worst first" if all_shown else f"the {_MOST_CLASSES} worst of {len(known)} classes"
    _show_rows(title, known[:_MOST_CLASSES], (*_RATIOS, "roc_auc", "average_precision", "support"))


def _show_rows(title: str, rows: Sequence[tuple[str, Mapping[str, Any]]], columns: Sequence[str]) -> None:
    cells = [(name, *(_text(numbers[column]) for column in columns)) for name, numbers in rows]
    out.print("", table((title, *map(_titled, columns)), cells), sep="\n")


def _show_confusion(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> None:
    head = ("", *labels)
    rows = [(label, *map(_text, row)) for label, row in zip(labels, counts, strict=True)]
    widths = [max(map(cell_len, column)) for column in zip(head, *rows, strict=True)]
    if sum(widths) + 2 * len(labels) > out.width:
        out.print("", "confusion matrix: too wide for here; --json and --html have it", sep="\n")
        return
    out.print("", "confusion matrix: a row for each true class, a column for each answer", sep="\n")
    out.print(table(head, rows))


def _titled(name: str) -> str:
    return "huber (δ = 1)" if name == "huber" else name.replace("_", " ")


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _write_page(
    path: Path, model: Model, tested: Tested, rows: Tensor, result: Evaluation | RegressionEvaluation
) -> None:
    from datetime import UTC, datetime

    from torchfinch.report import write_evaluation

    write_evaluation(
        path,
        result,
        title=model.name,
        source=tested.source,
        pixels=tested.pixels.numpy(),
        targets=tested.targets.numpy(),
        rows=rows.numpy(),
        now=datetime.now(UTC),
        names=tested.names,
    )
    err.print(f"wrote {path}", markup=False, soft_wrap=True)
