"""`torchfinch models`: the management API of a running server."""

import json
from typing import Annotated, Any

import typer

from torchfinch.cli.serve import Name, find
from torchfinch.console import err, out, table

app = typer.Typer(no_args_is_help=True, help="List, register, scale and unregister the models of a running server.")

Model = Annotated[str, typer.Argument(help="The model's name.", show_default=False)]
Version = Annotated[str | None, typer.Option(help="One version; all, or the default one, if not given.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(name: Name = "default", as_json: AsJson = False) -> None:
    """List every version of every model."""
    management = find(name).management
    versions = [version for model in management.models() for version in management.describe(model)]
    if as_json:
        print(json.dumps(versions, indent=2))
        return
    out.print(table(("model", "version", "archive", "workers", "batch", "queued"), map(_row, versions)))


@app.command()
def describe(model: Model, name: Name = "default", version: Version = None) -> None:
    """Print all that is known of a model, as JSON, with what its handler tells."""
    print(json.dumps(find(name).management.describe(model, version, customized=True), indent=2))


@app.command()
def register(
    archive: Annotated[str, typer.Argument(help="A file of the server's model store.", show_default=False)],
    name: Name = "default",
    model: Annotated[str | None, typer.Option(help="The model's name; the archive's own if not given.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes; if not given, what the archive says, or 1, and one for each GPU."),
    ] = None,
) -> None:
    """Load an archive and wait for its workers; a further version does not become the default."""
    from torchfinch.archive import read_archive

    instance = find(name)
    if (instance.store / archive).is_file():  # else it is the server that says what is wrong
        read_archive(instance.store / archive)
    with err.status(f"loading {archive} ..."):
        instance.management.register(archive, name=model, workers=workers, gpus=instance.gpus)
    err.print(f"registered {archive}")


@app.command()
def scale(
    model: Model,
    workers: Annotated[int, typer.Argument(min=0, help="Worker processes.", show_default=False)],
    name: Name = "default",
    version: Version = None,
) -> None:
    """Set the number of workers and wait for them."""
    find(name).management.scale(model, workers, version=version)
    err.print(f"{model} has {workers} workers")


@app.command("set-default")
def set_default(
    model: Model,
    version: Annotated[str, typer.Argument(help="The version.", show_default=False)],
    name: Name = "default",
) -> None:
    """Choose the version that answers requests that name none."""
    find(name).management.set_default(model, version)
    err.print(f"{model} {version} is the default")


@app.command()
def unregister(model: Model, name: Name = "default", version: Version = None) -> None:
    """Stop serving a model, or one version of it."""
    find(name).management.unregister(model, version=version)
    err.print(f"unregistered {model}{f' {version}' if version else ''}")


def _row(version: dict[str, Any]) -> tuple[object, ...]:
    statuses = [worker["status"] for worker in version["workers"]]
    workers = f"{statuses.count('READY')}/{len(statuses)} READY"
    queued = version.get("jobQueueStatus", {}).get("pendingRequests")
    return (version["modelName"], version["modelVersion"], version["modelUrl"], workers, version["batchSize"], queued)
