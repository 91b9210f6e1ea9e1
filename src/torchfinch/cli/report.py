"""`torchfinch report`: training, load tests and releases as one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from torchfinch import console

Folders = list[Path] | None


def report(
    run: Annotated[Folders, typer.Option(help="Run folder of a training; default: every one in runs/.")] = None,
    loadtest: Annotated[Folders, typer.Option(help="Folder of a load test; default: reports/loadtest*.")] = None,
    release: Annotated[
        Folders,
        typer.Option(help="Folder or recorded file of a release; default: every one in .torchfinch/releases/."),
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option(help="Image to show, with a caption if you like.", metavar="FILE[=CAPTION]")
    ] = None,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Model report",
    output: Annotated[Path, typer.Option(help="File to write.")] = Path("reports/report.html"),
) -> None:
    """Write one self-contained HTML file on what was trained, measured and released.

    Prints its path. What is there but cannot be read is left out, named, and makes the exit code 1.
    """
    from datetime import UTC, datetime

    from torchfinch.report import Sources, write_report

    sources = Sources(
        runs=_given(run, "runs/*/model.json"),
        loadtests=_given(loadtest, "reports/loadtest*/summary.json"),
        releases=_given(release, ".torchfinch/releases/*/history.jsonl"),
        images=tuple(map(_image, image or [])),
    )
    written = write_report(sources, output, title=title, now=datetime.now(UTC))
    for fault in written.faults:
        console.err.print(f"left out: {fault}", markup=False, soft_wrap=True)
    console.out.print(str(output), markup=False, soft_wrap=True)
    if written.faults:
        raise typer.Exit(1)


def _given(named: Folders, pattern: str) -> tuple[Path, ...]:
    """What was named, else whatever is there."""
    return tuple(named) if named else tuple(sorted(path.parent for path in Path().glob(pattern)))


def _image(text: str) -> tuple[Path, str | None]:
    file, separator, caption = text.partition("=")
    return (Path(file), caption) if separator and not Path(text).exists() else (Path(text), None)
