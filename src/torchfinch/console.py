"""Where the command line speaks: data on stdout, talk and progress on stderr."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

_PIPE_WIDTH = 160


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH  # a pipe has no width, and lines cut at 80 columns are hard to read by program
    return console


out = _console(stderr=False)
err = _console(stderr=True)


def progress(*columns: ProgressColumn, hidden: bool = False) -> Progress:
    """A progress bar on stderr, with `columns` at its end; on a pipe it draws nothing, so callers say what they did."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        *columns,
        console=err,
        transient=True,
        redirect_stdout=out.is_terminal,  # rich would send what is printed meanwhile to stderr, also out of a pipe
        disable=hidden or not err.is_terminal,
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> Table:
    """A table whose first column names the row; brackets in a cell are text, and a `Text` has its style."""
    grid = Table(
        *(Column(Text(column)) for column in columns),
        title=title,
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
        show_header=any(columns),
    )
    for row in rows:
        grid.add_row(*map(_cell, row))
    return grid


def _cell(value: object) -> Text:
    return value if isinstance(value, Text) else Text("" if value is None else str(value))
