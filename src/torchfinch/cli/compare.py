"""`torchfinch compare`: which of two models is better, and what may be claimed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchfinch.console import out, table
from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    from torch import Tensor

    from torchfinch.cli.evaluate import Tested
    from torchfinch.evaluation import ErrorComparison, FoldComparison, Model, TestSetComparison

Names = tuple[str, str]


def compare(
    first: Annotated[
        Path, typer.Argument(help="A folder of torchfinch crossval, a run or an archive.", show_default=False)
    ],
    second: Annotated[Path, typer.Argument(help="Another of the same kind.", show_default=False)],
    metric: Annotated[str | None, typer.Option(help="Of cross-validations; their first one if not given.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Of runs and archives: a folder of images or a recipe, as in evaluate.")
    ] = None,
    alpha: Annotated[
        float,
        typer.Option(
            min=0.001, max=0.5, help="A p-value below it is called a difference, and intervals hold 1 - alpha."
        ),
    ] = 0.05,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Compare two cross-validations fold by fold, or two trained models image by image on one test set."""
    for path in (first, second):
        if not path.exists():
            raise TorchfinchError(f"{path} does not exist", "give a folder of torchfinch crossval, a run or an archive")
    folds = [(path / "crossval.json").is_file() for path in (first, second)]
    if any(folds) and not all(folds):
        raise TorchfinchError(f"{first} and {second} are of different kinds", "give two of one kind")
    compared: tuple[FoldComparison | TestSetComparison | ErrorComparison, str, list[Names]]
    compared = _folds(first, second, metric, alpha) if any(folds) else _models(first, second, data, alpha)
    result, claim, rows = compared
    if as_json:
        out.print_json(data={**result.to_dict(), "claim": claim})
        return
    out.print(table(("", ""), rows))
    out.print(f"\n{claim}", markup=False, soft_wrap=True)


def _folds(first: Path, second: Path, metric: str | None, alpha: float) -> tuple[FoldComparison, str, list[Names]]:
    from torchfinch.evaluation import claim_of_folds, compare_folds, read_cross_validation
    from torchfinch.evaluation.folds import LOWER_IS_BETTER

    one, other = read_cross_validation(first), read_cross_validation(second)
    if not one.plan.same_folds(other.plan):
        raise TorchfinchError(f"{first} and {second} are not on the same folds", "use the same data, folds and seed")
    metric = metric or one.metrics[0]
    result = compare_folds(
        one.scores(metric),
        other.scores(metric),
        alpha=alpha,
        test_share=one.test_share,
        lower_is_better=metric in LOWER_IS_BETTER,
    )
    names = _names(one.plan.name, other.plan.name)
    shown = metric.replace("_", " ")
    rows = [
        (f"{name}: {shown}", f"{each.mean(metric):.4f} ± {each.sd(metric):.4f} over {each.plan.folds} folds")
        for name, each in zip(names, (one, other), strict=True)
    ]
    rows += [
        ("difference", _span(result.difference, result.interval, alpha)),
        ("in standard deviations (Cohen's d)", _span(result.effect, result.effect_interval, alpha, digits=2)),
        ("paired t-test", _t(result.t_plain, result.p_plain)),
        ("Nadeau and Bengio's corrected t-test", _t(result.t_corrected, result.p_corrected)),
    ]
    return result, claim_of_folds(result, names=names, metric=shown), rows


def _models(
    first: Path, second: Path, data: str | None, alpha: float
) -> tuple[TestSetComparison | ErrorComparison, str, list[Names]]:
    from torchfinch.evaluation import load_model, outputs

    one, other = load_model(first), load_model(second)
    if one.labels != other.labels or one.regression != other.regression:
        raise TorchfinchError(
            f"{one.name} and {other.name} have different labels", "compare models of the same classes"
        )
    tested, again = _same_images(one, other, data)
    rows = [
        outputs(model.network, images.pixels, preprocessing=model.preprocessing)
        for model, images in ((one, tested), (other, again))
    ]
    return (_errors if one.regression else _answers)(tested, rows, _names(one.name, other.name), alpha)


def _same_images(one: Model, other: Model, data: str | None) -> tuple[Tested, Tested]:
    """What each is tested on, at the size that it takes; a folder has the same images for both, a recipe may not."""
    from torchfinch.cli.evaluate import test_images

    tested, again = test_images(one, data), test_images(other, data)
    folder = data and Path(data).is_dir()
    if not tested.targets.equal(again.targets) or not (folder or tested.pixels.equal(again.pixels)):
        raise TorchfinchError(
            f"{one.name} and {other.name} have different test images, or the same ones at different sizes",
            "--data FOLDER gives both the images of a folder",
        )
    return tested, again


def _errors(
    tested: Tested, outputs: list[Tensor], names: Names, alpha: float
) -> tuple[ErrorComparison, str, list[Names]]:
    from torchfinch.evaluation import claim_of_errors, compare_errors

    result = compare_errors(tested.targets, *outputs, alpha=alpha)
    rows = [
        (f"{names[0]}: mean absolute error", f"{result.first:.4f} of {tested.source}"),
        (f"{names[1]}: mean absolute error", f"{result.second:.4f}"),
        ("difference", f"{_span(result.difference, result.interval, alpha)} (paired bootstrap)"),
    ]
    return result, claim_of_errors(result, names=names), rows


def _answers(
    tested: Tested, outputs: list[Tensor], names: Names, alpha: float
) -> tuple[TestSetComparison, str, list[Names]]:
    from torchfinch.evaluation import claim_of_answers, compare_answers

    result = compare_answers(tested.targets, *(rows.argmax(dim=1) for rows in outputs), alpha=alpha)
    rows = [
        (f"{names[0]}: accuracy", f"{result.first:.4f} of {tested.source}"),
        (f"{names[1]}: accuracy", f"{result.second:.4f}"),
        ("difference", f"{_span(result.difference, result.interval, alpha)} (paired bootstrap)"),
        ("right alone", f"{names[0]} {result.only_first}, {names[1]} {result.only_second}"),
        ("odds ratio", _odds(result)),
        ("McNemar's exact test", _p(result.p)),
    ]
    return result, claim_of_answers(result, names=names), rows


def _names(first: str, second: str) -> Names:
    return (first, second) if first != second else (f"{first} (first)", f"{second} (second)")


def _span(
    value: float | None, interval: tuple[float, float] | None, alpha: float, *, digits: int = 4, sign: str = "+"
) -> str:
    from torchfinch.evaluation.claim import shown

    if value is None or interval is None:
        return "the same in every fold" if value is None else f"{value:{sign}.{digits}f}"
    low, high = (f"{end:{sign}.{digits}f}" for end in interval)
    return f"{value:{sign}.{digits}f}, {shown(alpha)} {low} to {high}"


def _odds(result: TestSetComparison) -> str:
    if not result.only_first + result.only_second:
        return "none: neither has an image right that the other has wrong"
    return _span(result.odds_ratio, result.odds_interval, result.alpha, digits=2, sign="")


def _t(statistic: float | None, p: float | None) -> str:
    return _p(p) if statistic is None else f"t = {statistic:.2f}, {_p(p)}"


def _p(value: float | None) -> str:
    if value is None:
        return "none: the folds do not vary"
    return f"p = {value:.2g}" if value >= 0.0001 else "p under 0.0001"
