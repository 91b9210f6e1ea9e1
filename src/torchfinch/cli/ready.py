"""`torchfinch ready`: the truth about readiness, light enough for a probe."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from torchfinch.cli.serve import Name, find
from torchfinch.console import err, out, table


def ready(
    name: Name = "default",
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    golden: Annotated[bool, typer.Option("--golden", help="Replay the archives' golden requests as well.")] = False,
    socket: Annotated[Path | None, typer.Option(help="Management socket of a server started otherwise.")] = None,
    url: Annotated[str, typer.Option(help="Inference address, with --socket.")] = "http://127.0.0.1:8080",
    store: Annotated[Path, typer.Option(help="The folder of archives, with --socket.")] = Path("model_store"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say whether every worker is READY; exits 1 when one is not."""
    from torchfinch.serving import ManagementClient, readiness

    if socket:
        management = ManagementClient(socket, timeout=10)
    else:
        instance = find(name)
        management, url, store = instance.management, instance.inference_url, instance.store
    found = readiness(management, model=model, url=url if golden else None, store=store)
    if as_json:
        print(json.dumps([asdict(each) for each in found], indent=2))
    else:
        rows = [(r.model, r.version, f"{r.ready}/{r.workers}", r.problem or "ready") for r in found]
        out.print(table(("model", "version", "workers", ""), rows))
    if not found:
        err.print("no model is registered")
    if not found or any(each.problem for each in found):
        raise typer.Exit(1)
