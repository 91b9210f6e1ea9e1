"""`torchfinch tune`: search settings, and leave the best ones as a file that `train` and `crossval` take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from torchfinch.cli.stopping import stop_as_ctrl_c
from torchfinch.cli.subject import Images, Name, Set, Subject, read_subject
from torchfinch.console import err, out, table
from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    from torchfinch.tuning import Problem, Trial, Tuned
    from torchfinch.tuning.space import Space

_SHOWN = 5


def tune(
    name: Name,
    search: Annotated[
        list[str] | None,
        typer.Option(
            help="Values to try: LOW..HIGH, LOW..HIGH:log, LOW..HIGH:STEP or A,B,C; may be given again.",
            metavar="NAME=VALUES",
        ),
    ] = None,
    data: Images = None,
    setting: Set = None,
    sampler: Annotated[
        Literal["grid", "random", "tpe", "gp"],
        typer.Option(help="Every point, at random, tree of Parzen estimators, or Gaussian process."),
    ] = "tpe",
    trials: Annotated[
        int | None, typer.Option(min=1, help="Candidates in all; 20 or the whole grid if not given.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Judge by cross-validation; by the validation images if not given.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="A scorer of scikit-learn, such as neg_log_loss; accuracy if not given, or R² for numbers.",
        ),
    ] = None,
    prune: Annotated[bool, typer.Option(help="Give up candidates that do worse than the median.")] = True,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the sampler and the folds.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that try candidates at once.")] = 1,
    output: Annotated[Path | None, typer.Option(help="Folder of the study; studies/NAME if not given.")] = None,
    storage: Annotated[
        str | None, typer.Option(help="Database of the trials; study.db in the folder if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every trial as JSON.")] = False,
) -> None:
    """Search the settings of a recipe, or the parameters of an estimator; prints the path of a file with the best.

    A YAML file may have the values to try under `search`. The same command again goes on with the study, also after it
    was killed. The folder has best.yaml and study.html.
    """
    from torchfinch.cli.settings import pairs
    from torchfinch.tuning import read_space
    from torchfinch.tuning import tune as run_study

    subject = read_subject(name, data=data, setting=setting)
    space = read_space({**subject.search, **pairs(search, option="--search")}, stepped=sampler == "grid")
    problem = _problem(subject, folds=folds, metric=metric, seed=seed)
    _check_images(subject, space)
    _tell_doubts(subject, space)
    folder = output or Path("studies") / subject.name
    stop_as_ctrl_c()
    try:
        tuned = run_study(
            problem,
            space,
            sampler=sampler,
            trials=trials,
            prune=prune,
            seed=seed,
            storage=storage or _database(folder),
            jobs=jobs,
            told=_tell,
        )
    except KeyboardInterrupt:
        err.print("the trials that ended are kept; the same command goes on with the study")
        raise
    page, best = _write(folder, tuned, subject)
    _show(tuned, page, _following(tuned, subject, best))
    if as_json:
        out.print_json(data=tuned.to_dict())
    else:
        print(best)


def _problem(subject: Subject, *, folds: int | None, metric: str | None, seed: int) -> Problem:
    from torchfinch.tuning import images_problem

    return images_problem(
        subject.estimator,
        subject.data,
        name=subject.name,
        step=subject.step,
        code=subject.code,
        folds=folds,
        metric=metric,
        seed=seed,
    )


def _tell_doubts(subject: Subject, space: Space) -> None:
    """The settings without effect, less those that a candidate may give one."""
    for line in subject.doubts:
        if not any(name in line for name in space):
            err.print(line, markup=False, soft_wrap=True)


def _check_images(subject: Subject, space: Space) -> None:
    """Refuse a setting of the recipe's own that changes the images: all candidates are given the same ones."""
    from torchfinch.cli.subject import images_of
    from torchfinch.training import FitSettings, load_recipe
    from torchfinch.tuning.space import ends

    if subject.step:
        return
    recipe = load_recipe(subject.config["recipe"])
    fixed = {name: value for name, value in subject.config.items() if name != "recipe"}
    for name, values in space.items():
        for value in ends(values) if name.partition(".")[0] not in FitSettings.model_fields else ():
            if images_of(recipe, recipe.configure(fixed, {name: value})).digest() != subject.data.digest():
                raise TorchfinchError(
                    f"{name}={value} changes the images, and all candidates are judged by the same ones",
                    f"give it with --set {name}={value}, and each value a study of its own with --output",
                )


def _show(tuned: Tuned, page: Path, following: str) -> None:
    counts = ", ".join(f"{tuned.count(state)} {state}" for state in ("complete", "pruned", "failed"))
    err.print(f"{len(tuned.trials)} trials: {counts}; the best:")
    err.print(_table(tuned))
    err.print(f"page {page}; next: torchfinch {following}", markup=False, soft_wrap=True)


def _following(tuned: Tuned, subject: Subject, best: Path) -> str:
    return f"crossval {best} --output reports/crossval/{tuned.name}-best" if subject.step else f"train {best}"


def _database(folder: Path) -> str:
    from sqlalchemy import URL

    return URL.create("sqlite", database=str(folder / "study.db")).render_as_string()


def _write(folder: Path, tuned: Tuned, subject: Subject) -> tuple[Path, Path]:
    """The page of the study, and the best settings; returns where they lie."""
    from torchfinch.files import write_whole
    from torchfinch.tuning import render_page

    page, best = folder / "study.html", folder / "best.yaml"
    write_whole(page, render_page(tuned))
    write_whole(best, _config(tuned, subject))
    return page, best


def _config(tuned: Tuned, subject: Subject) -> str:
    import yaml

    from torchfinch.tuning.space import written

    head = f"# {tuned.metric} {tuned.best.score:.6g}: trial {tuned.best.number} of {len(tuned.trials)}\n"
    fixed = {name: _number(value) for name, value in subject.config.items()}
    best = {name: written(value) for name, value in tuned.best.values.items()}
    return head + yaml.safe_dump({**fixed, **best}, sort_keys=False)


def _number(value: object) -> object:
    """Text as the number that it is, where that is written the same: a folder 2024_01_15 is none."""
    from torchfinch.tuning import read_value

    read = read_value(value)
    return read if type(read) in {int, float} and str(read) == value else value


def _tell(trial: Trial) -> None:
    score = "" if trial.score is None else f"{trial.score:.4f}"
    time = "" if trial.seconds is None else f"{trial.seconds:.1f} s"
    line = f"trial {trial.number:3d}  {trial.state:8}  {score:>7}  {time:>7}  {_values(trial)}  {trial.note}"
    err.print(line.rstrip(), markup=False, soft_wrap=True)


def _table(tuned: Tuned) -> Any:
    names = list(tuned.best.values)
    rows = [
        (trial.number, f"{trial.score:.4f}", *(_short(trial.values[name]) for name in names))
        for trial in tuned.ranked[:_SHOWN]
        if trial.state == "complete"
    ]
    return table(("trial", tuned.metric, *names), rows)


def _values(trial: Trial) -> str:
    return " ".join(f"{name}={_short(value)}" for name, value in trial.values.items())


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
