"""`torchfinch pack`, `inspect` and `verify`: archives from the command line."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from torchfinch.console import err, out, table

Archive = Annotated[Path, typer.Argument(help="The .mar file.", show_default=False)]
_LISTED = 20
_SETTINGS = ("sdk_version", "task", "top_k", "explain", "limits", "batch_buckets")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def pack(
    run: Annotated[
        Path, typer.Argument(help="The folder that training left, such as runs/digits.", show_default=False)
    ],
    name: Annotated[str | None, typer.Option(help="The model's name; the run folder's name if not given.")] = None,
    version: Annotated[str, typer.Option(help="The model's version.")] = "1.0",
    handler: Annotated[
        Path | None, typer.Option(help="A handler file; the stock classifier if not given, or regressor for numbers.")
    ] = None,
    extra: Annotated[
        list[Path] | None, typer.Option(help="A file that the handler imports or reads.", show_default=False)
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The archive; model_store/NAME.mar if not given.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Most requests in one batch.")] = 8,
    max_batch_delay: Annotated[int, typer.Option(min=0, help="Wait for a batch to fill, milliseconds.")] = 2,
    job_queue_size: Annotated[int, typer.Option(min=1, help="Requests that wait before status 503.")] = 100,
    response_timeout: Annotated[int, typer.Option(min=1, help="A worker answers a batch within, seconds.")] = 60,
    startup_timeout: Annotated[int, typer.Option(min=1, help="A worker loads within, seconds.")] = 120,
) -> None:
    """Pack a run folder into an archive that TorchServe serves; the same inputs give the same bytes."""
    from torchfinch.archive import ServingConfig, pack_run

    name = name or run.resolve().name
    serving = ServingConfig(
        workers=workers,
        batch_size=batch_size,
        max_batch_delay=max_batch_delay,
        job_queue_size=job_queue_size,
        response_timeout=response_timeout,
        startup_timeout=startup_timeout,
    )
    output = output or Path("model_store") / f"{name}.mar"
    pack_run(run, name=name, version=version, handler=handler, extra=extra or (), output=output, serving=serving)
    err.print(f"packed {name} {version}, {output.stat().st_size / 1e6:.1f} MB; next: torchfinch verify {output}")
    print(output)


def inspect(archive: Archive, as_json: AsJson = False) -> None:
    """Show what an archive says about itself."""
    from torchfinch.archive import ServingConfig, read_archive

    info = read_archive(archive)
    serving = {key: info.config[key] for key in ServingConfig().to_dict() if key in info.config}
    described = {
        "name": info.name,
        "version": info.version,
        "digest": info.digest,
        "bytes": archive.stat().st_size,
        "handler": info.manifest["model"]["handler"],
        "weights": info.manifest["model"].get("serializedFile"),
        "created": info.manifest.get("createdOn"),
        **{
            key: info.handler.get(key) for key in ("sdk_version", "task", "top_k", "explain", "limits", "batch_buckets")
        },
        "classes": list(info.labels),
        "network": info.handler.get("network"),
        "preprocessing": info.handler.get("preprocessing"),
        "serving": serving,
        "golden": {golden.name: golden.expected for golden in info.golden},
        "lineage": info.lineage,
        "files": info.files,
    }
    if as_json:
        print(json.dumps({**described, "digests": info.digests}, indent=2, ensure_ascii=False))
        return
    rows = [row for key, value in described.items() if value not in (None, {}, []) for row in _rows(key, value)]
    out.print(table(("", ""), rows))


def verify(
    archive: Archive,
    as_json: AsJson = False,
    timeout: Annotated[float, typer.Option(min=1, help="Limit for loading and answering, seconds.")] = 300,
) -> None:
    """Prove an archive: its digests, that it loads in a fresh process, and its golden requests."""
    from torchfinch.archive import verify as prove

    result = prove(archive, timeout=timeout)
    if as_json:
        checks = [{"name": c.name, "ok": c.ok, "detail": c.detail} for c in result.checks]
        print(json.dumps({"ok": result.ok, "checks": checks, "traceback": result.traceback}, indent=2))
    else:
        words = {True: Text("ok", "green"), False: Text("FAILED", "red"), None: Text("none", "dim")}
        out.print(table(("check", "", ""), [(c.name, words[c.ok], c.detail) for c in result.checks]))
        if result.traceback:
            err.print(result.traceback, markup=False)
    if not result.ok:
        raise typer.Exit(1)


def _rows(key: str, value: object) -> Iterator[tuple[str, str]]:
    """One row for a value, or one for each that it holds; the key stands before the first."""
    if isinstance(value, Mapping):
        lines = [f"{name}  {json.dumps(each) if isinstance(each, dict) else each}" for name, each in value.items()]
    elif isinstance(value, list):
        shown = ", ".join(map(str, value[:_LISTED]))
        lines = [f"{len(value)}: {shown}" + (" and more, see --json" if len(value) > _LISTED else "")]
    else:
        lines = [str(value)]
    yield from zip([key, *[""] * len(lines)], lines, strict=False)
