"""`torchfinch init`: a project of the same shape as torchfinch's own repository."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from torchfinch.console import err


def init(
    name: Annotated[
        Path, typer.Argument(help="The folder to make; it must not exist, or be empty.", show_default=False)
    ],
) -> None:
    """Make a project: recipes, handlers, load test, manifests, tests, configuration and a demo."""
    from torchfinch.project import create

    create(name)
    print(name)
    err.print(
        f"next: cd {shlex.quote(str(name))} && torchfinch doctor && bash demo/run.sh", markup=False, soft_wrap=True
    )
