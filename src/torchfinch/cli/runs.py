"""`torchfinch runs`: what trainings left in run folders, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchfinch.cli.pull import Uri
from torchfinch.console import err, out, table
from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torchfinch.registry import Difference, Record

app = typer.Typer(no_args_is_help=True, help="Trainings in run folders: list, show, compare, track.")

Folder = Annotated[Path, typer.Argument(help="A run folder, such as runs/digits.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_runs(
    root: Annotated[Path, typer.Argument(help="Where the run folders lie.")] = Path("runs"), as_json: AsJson = False
) -> None:
    """List the run folders, and the trainings that are not finished; what cannot be read makes the exit code 1."""
    from torchfinch.registry import find_folders, read_record

    records, faults = [], 0
    for folder in find_folders(root):
        try:
            records.append(read_record(folder))
        except TorchfinchError as error:
            faults += 1
            err.print(f"left out: {error.message}", markup=False, soft_wrap=True)
    if as_json:
        out.print_json(data=[record.to_dict() for record in records])
    elif records:
        columns = ("run", "recipe", "epochs", "time", "test score", "data", "revision")
        out.print(table(columns, map(_row, records)))
    else:
        err.print(f"there are no runs in {root}; torchfinch train NAME makes one", markup=False, soft_wrap=True)
    if faults:
        raise typer.Exit(1)


@app.command()
def show(
    folder: Folder,
    as_json: AsJson = False,
    uri: Annotated[
        str | None,
        typer.Option(
            "--registry", help="Name the versions that were registered there, too.", envvar="MLFLOW_TRACKING_URI"
        ),
    ] = None,
) -> None:
    """Show one run: where it comes from, its scores, its versions in a registry, its epochs and its settings."""
    from torchfinch.registry import open_registry, read_record, weights_digest

    record = read_record(folder)
    versions = open_registry(uri).trained(weights_digest(folder))
    if as_json:
        out.print_json(data={**record.to_dict(), "versions": [vars(version) for version in versions]})
        return
    about = {"run": folder, "recipe": record.recipe, **record.origin, **record.network, **record.scores}
    if uri:
        about["versions"] = "; ".join(map(str, versions)) or "none is registered"
    out.print(table(("", ""), [(name, _text(value)) for name, value in about.items()]))
    if record.epochs:
        names = [name for name, value in record.epochs[0].items() if not isinstance(value, list | tuple | None)]
        out.print()
        out.print(table(names, [[_text(epoch[name]) for name in names] for epoch in record.epochs]))
    out.print()
    out.print(table(("setting", ""), [(name, _text(value)) for name, value in record.settings.items()]))


@app.command()
def diff(
    first: Folder,
    second: Annotated[Path, typer.Argument(help="Another one.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Show in what two runs differ: settings, network, data, code and scores."""
    from torchfinch.registry import differences, read_record

    one, other = read_record(first), read_record(second)
    parts = {part: differences(getattr(one, part), getattr(other, part)) for part in _PARTS}
    if as_json:
        found = {part: {name: _values(pair) for name, pair in pairs.items()} for part, pairs in parts.items()}
        out.print_json(data={"first": str(first), "second": str(second), **found})
        return
    rows = [_difference(name, pair) for pairs in parts.values() for name, pair in pairs.items()]
    if rows:
        out.print(table(("", str(first), str(second), "change"), rows))
    else:
        err.print("they have the same settings, network, data, code and scores")
    if "data_digest" in parts["origin"]:
        err.print("their images differ, so their scores are not of the same test")


@app.command()
def track(folder: Folder, uri: Uri = "sqlite:///mlflow.db") -> None:
    """Keep a finished run in MLflow, as `torchfinch train --track` does; see it with `mlflow ui`."""
    from torchfinch.registry import read_record, tracking

    record = read_record(folder)
    if not record.finished:
        raise TorchfinchError(f"{folder} is of a training that is not finished", "torchfinch train --resume ends it")
    with tracking(uri, folder, recipe=record.recipe, fill=lambda into: write_page(folder, into)):
        pass


def write_page(folder: Path, into: Path) -> None:
    """The report on a run folder, as `report.html`."""
    from datetime import UTC, datetime

    from torchfinch.report import Sources, write_report

    write_report(Sources(runs=(folder,)), into / "report.html", title=folder.name, now=datetime.now(UTC))


_PARTS = ("settings", "network", "origin", "scores")
_SCORES = {"test_accuracy": "accuracy", "test_mae": "MAE"}
_SHORT = 12
"""Letters of a digest or a revision in a table."""


def _row(record: Record) -> tuple[str, ...]:
    of = record.settings.get("epochs")
    seconds = sum(epoch["seconds"] for epoch in record.epochs)
    score = next(
        (f"{name.removeprefix('test_')} {record.scores[name]:.4f}" for name in _SCORES if name in record.scores), ""
    )
    return (
        str(record.folder),
        record.recipe,
        f"{len(record.epochs)}" if record.finished else f"{len(record.epochs)} of {of}, not finished",
        f"{seconds:.0f} s",
        score,
        _short(record.origin.get("data_digest")),
        _short(record.origin.get("git_revision")),
    )


def _short(digest: str | None) -> str:
    """The first letters, and whether files differed from the commit."""
    head, _, dirty = (digest or "").partition("-")
    return head[:_SHORT] + ("-dirty" if dirty else "")


def _difference(name: str, pair: Difference) -> tuple[str, ...]:
    change = "" if pair.change is None else f"{pair.change:+.4g}"
    return (name, _text(pair.first), _text(pair.second), change)


def _values(pair: Difference) -> Mapping[str, Any]:
    return {"first": pair.first, "second": pair.second, "change": pair.change}


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)
