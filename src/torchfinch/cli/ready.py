"""`torchfinch ready`: the truth about readiness, light enough for a probe."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from torchfinch.cli.serve import Name, find
from torchfinch.console import err, out, table
from torchfinch.errors import TorchfinchError

_ANSWER_SECONDS = 10.0
"""A probe must answer in seconds, and TorchServe tells its state at once."""


def ready(
    name: Name = "default",
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    golden: Annotated[bool, typer.Option("--golden", help="Replay the archives' golden requests as well.")] = False,
    socket: Annotated[Path | None, typer.Option(help="Management socket of a server started otherwise.")] = None,
    url: Annotated[str, typer.Option(help="Inference address, with --socket.")] = "http://127.0.0.1:8080",
    store: Annotated[Path, typer.Option(help="The folder of archives, with --socket.")] = Path("model_store"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say whether every worker is READY; exits 1 when one is not, or when no answer comes in 10 seconds."""
    from torchfinch.serving import ManagementClient, readiness

    if socket is None:
        instance = find(name)
        socket, url, store = instance.socket, instance.inference_url, instance.store
    management = ManagementClient(socket, timeout=_ANSWER_SECONDS)
    try:
        found = readiness(management, model=model, url=url if golden else None, store=store)
    except TorchfinchError as error:
        raise TorchfinchError(f"not ready: {error.message}", error.hint) from error
    if as_json:
        print(json.dumps([asdict(each) for each in found], indent=2))
    else:
        rows = [(r.model, r.version, f"{r.ready}/{r.workers}", r.problem or "ready") for r in found]
        out.print(table(("model", "version", "workers", ""), rows))
    if not found:
        err.print("no model is registered")
    if not found or any(each.problem for each in found):
        raise typer.Exit(1)
