"""`torchfinch push` and `torchfinch pull`: archives into a registry, and out of it."""

from pathlib import Path
from typing import Annotated

import typer

from torchfinch.console import err

Uri = Annotated[str, typer.Option("--registry", help="MLflow's database or server.", envvar="MLFLOW_TRACKING_URI")]


def push(
    archive: Annotated[Path, typer.Argument(help="A .mar file.", show_default=False)],
    alias: Annotated[str | None, typer.Option(help="Name this version so, such as challenger.")] = None,
    uri: Uri = "sqlite:///mlflow.db",
) -> None:
    """Register an archive as a version of its model; prints the version."""
    from torchfinch.registry import open_registry

    print(open_registry(uri).register(archive, alias=alias))


def pull(
    reference: Annotated[str, typer.Argument(help="models:/NAME@ALIAS or models:/NAME/VERSION.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Folder for the archive.")] = Path("model_store"),
    uri: Uri = "sqlite:///mlflow.db",
) -> None:
    """Fetch a registered archive and check its digest; prints its path."""
    from torchfinch.registry import open_registry

    path = open_registry(uri).fetch(reference, output)
    err.print(f"next: torchfinch verify {path}", soft_wrap=True)
    print(path)
