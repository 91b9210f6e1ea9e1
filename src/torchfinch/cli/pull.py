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
    """Register an archive as a version of its model, with the tracked training it comes from; prints the version."""
    from torchfinch.archive import read_archive
    from torchfinch.registry import open_registry

    registry = open_registry(uri)
    number = registry.register(archive, alias=alias)
    err.print(f"{registry.find(f'models:/{read_archive(archive).name}/{number}')}", markup=False, soft_wrap=True)
    print(number)


def pull(
    reference: Annotated[str, typer.Argument(help="models:/NAME@ALIAS or models:/NAME/VERSION.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Folder for the archive.")] = Path("model_store"),
    uri: Uri = "sqlite:///mlflow.db",
) -> None:
    """Fetch a registered archive and check its digest; prints its path."""
    from torchfinch.registry import open_registry

    registry = open_registry(uri)
    version = registry.find(reference)
    path = registry.fetch(version.reference, output)
    err.print(f"{version}; next: torchfinch verify {path}", markup=False, soft_wrap=True)
    print(path)
