"""`torchfinch serve`: TorchServe in the foreground or detached, several side by side, stopped cleanly."""

import json
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchfinch.console import err, out, table
from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    from torchfinch.serving import Instance

Name = Annotated[str, typer.Option(help="Which server; `default` listens where config.properties says.")]


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="An archive of the store, FILE or NAME=FILE; may be given again. "
            "All if not given; two archives of one model are refused."
        ),
    ] = None,
    name: Name = "default",
    store: Annotated[Path, typer.Option(help="The folder of archives.")] = Path("model_store"),
    config: Annotated[Path | None, typer.Option(help="Properties file; ./config.properties if not given.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port for inference; metrics and gRPC take free ones then.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when every worker is READY.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the server instead.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="List the running servers instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Wait for the workers, seconds.")] = 180,
) -> None:
    """Run TorchServe until Ctrl-C; its log is shown, and it ends with everything it started."""
    from torchfinch.serving import find_instance, list_instances, start_instance

    if listing:
        _show(list_instances(), as_json=as_json)
        return
    if stop:
        running = find_instance(name)
        if running is None:
            raise TorchfinchError(f"no server called {name} runs here", "torchfinch serve --list")
        running.stop()
        err.print(f"stopped {name}")
        return
    models = _models(model, store)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # a start that is cut short cleans up as after Ctrl-C
    with err.status(f"starting TorchServe with {', '.join(models)} ..."):
        instance = start_instance(name, store=store, models=models, properties=config, port=port, timeout=timeout)
    _show([instance], as_json=as_json)
    err.print(f"ready; log: {_relative(instance.log)}")
    if not detach:
        _stay(instance)


def find(name: str) -> "Instance":
    """The running server called `name`.

    Raises:
        TorchfinchError: none runs.
    """
    from torchfinch.serving import find_instance

    instance = find_instance(name)
    if instance is None:
        raise TorchfinchError(f"no server called {name} runs here", "torchfinch serve --detach starts one")
    return instance


def _models(chosen: list[str] | None, store: Path) -> dict[str, str]:
    from torchfinch.archive import read_archive

    pairs = [text.rpartition("=") for text in chosen or sorted(path.name for path in store.glob("*.mar"))]
    if not pairs:
        raise TorchfinchError(f"there is no archive in {store}", "torchfinch train digits makes one")
    models: dict[str, str] = {}
    for given, _, archive in pairs:
        info = read_archive(store / archive)
        name = given or info.name
        if name in models:
            raise TorchfinchError(
                f"{models[name]} and {archive} are both of the model {name}",
                f"choose with --model {models[name]}, or serve one under a name of its own: --model NAME={archive}",
            )
        models[name] = archive
    return models


def _show(instances: "list[Instance]", *, as_json: bool) -> None:
    fields = [
        {"name": i.name, "pid": i.pid, "inference": i.inference_url, "metrics": i.metrics_url, "socket": str(i.socket)}
        for i in instances
    ]
    if as_json:
        print(json.dumps(fields, indent=2))
    else:
        rows = [(f["name"], f["inference"], f["metrics"], f["pid"]) for f in fields]
        out.print(table(("server", "inference", "metrics", "pid"), rows))


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _stay(instance: "Instance") -> None:
    """Show the log until a signal or the server's own end; then stop it."""
    from torchfinch.serving.logs import follow

    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: over.set())
    err.print("Ctrl-C stops it")
    for lines in follow(instance.log):
        for line in lines:
            err.print(line, markup=False, soft_wrap=True)
        if over.wait(0.5) or not instance.alive:
            break
    ended = not over.is_set()
    instance.stop()
    if ended:
        raise TorchfinchError(f"TorchServe ended by itself; see {instance.log}", "torchfinch doctor")
    err.print(f"stopped {instance.name}")
