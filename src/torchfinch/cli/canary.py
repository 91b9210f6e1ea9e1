"""`torchfinch canary`: run a canary release on this machine, watch it, and tell it what to do."""

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from torchfinch.cli.dashboard import dashboard
from torchfinch.cli.outcomes import RegistryUri, outcomes
from torchfinch.cli.releases import HOME, Name, find_release, list_releases
from torchfinch.cli.replay import replay
from torchfinch.cli.simulate import simulate
from torchfinch.console import err, out, table
from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    from rich.live import Live

    from torchfinch.release.controller import Tick
    from torchfinch.release.local.store import FileStore

app = typer.Typer(
    no_args_is_help=True, help="Release a new version to a part of the traffic first, judged by its numbers."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Action = Literal["promote", "abort", "retry", "skip", "resume"]


@app.command()
def run(
    manifest: Annotated[Path, typer.Argument(help="A manifest of kind CanaryRelease.", show_default=False)],
    until_done: Annotated[
        bool,
        typer.Option(
            "--until-done",
            help="Return when the release has ended: 0 promoted or nothing to release, 1 rolled back, 130 interrupted.",
        ),
    ] = False,
    registry: RegistryUri = None,
) -> None:
    """Be the controller of a release, here, until Ctrl-C; the manifest is read again at every turn."""
    from torchfinch.release.local.router import edge
    from torchfinch.release.local.servers import local_controller, local_router, read_manifest
    from torchfinch.release.local.store import FileStore, release_folder
    from torchfinch.release.state import Phase

    release = read_manifest(manifest)
    route, name = edge(release.spec), release.metadata.name
    store = FileStore(release_folder(name, home=HOME))
    router = local_router(name, home=HOME)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    told = outcomes(registry)
    try:
        with store.locked():
            with err.status("starting the stable version and Envoy ..."):
                router.prepare(release.spec)
            err.print(f"http://{route.host}:{route.port}/predictions/{release.spec.model}")
            controller = local_controller(manifest, router=router, store=store, outcomes=told)
            last = _show(controller.run, store, until_done=until_done)
    except KeyboardInterrupt:
        err.print(f"the controller ended; servers and weights stay (torchfinch canary stop {name} ends them)")
        raise typer.Exit(130 if until_done else 0) from None
    if last.decision.state.phase is Phase.IDLE:
        what = release.spec.canary.archive if release.spec.canary else "no canary is named, and the stable version"
        err.print(f"nothing to release: {what} is stable already", soft_wrap=True)
    if last.decision.state.phase is Phase.ROLLED_BACK:
        raise typer.Exit(1)


@app.command()
def get(
    name: Annotated[str | None, typer.Argument(help="One release; all if not given.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Show where releases stand."""
    from dataclasses import asdict

    from torchfinch.release.history import last_record
    from torchfinch.release.view import SUMMARY_COLUMNS, summary

    stores = [find_release(name)] if name else list_releases()
    states = {store.folder.name: store.load() for store in stores}
    if as_json:
        print(json.dumps({name: asdict(state) for name, state in states.items()}, indent=2))
        return
    if not states:
        err.print("no release yet; torchfinch canary run k8s/local/digits.yaml begins one")
    rows = [summary(store.folder.name, store.load(), last_record(store.history)) for store in stores]
    out.print(table(SUMMARY_COLUMNS, rows))


@app.command()
def watch(name: Name) -> None:
    """Follow a release that another process controls; ends with Ctrl-C."""
    from rich.live import Live

    from torchfinch.release.history import last_record
    from torchfinch.release.view import board

    store = find_release(name)
    try:
        with Live(console=out, auto_refresh=False) as live:
            while True:
                record = last_record(store.history)
                if record:
                    alone = () if store.controlled else ("no controller runs: torchfinch canary run MANIFEST",)
                    live.update(board(record, *alone), refresh=True)
                time.sleep(0.5)
    except KeyboardInterrupt:
        return


@app.command()
def promote(name: Name) -> None:
    """Give the canary all traffic and make it stable, whatever its numbers say."""
    _ask(name, "promote")


@app.command()
def abort(name: Name) -> None:
    """Take the canary back to weight 0."""
    _ask(name, "abort")


@app.command()
def retry(name: Name) -> None:
    """Begin a rolled back release again, with a fresh server."""
    _ask(name, "retry")


@app.command()
def skip(name: Name) -> None:
    """Go on to the next step without waiting for its requests."""
    _ask(name, "skip")


@app.command()
def pause(name: Name) -> None:
    """Hold the weight; a plain failure is still acted on."""
    _ask(name, paused=True)


@app.command()
def resume(name: Name) -> None:
    """Go on after a pause, or after a weight lowered by hand."""
    _ask(name, "resume", paused=False)


@app.command()
def history(
    name: Name,
    everything: Annotated[bool, typer.Option("--all", help="Every look, not only what changed something.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the decisions of a release with their numbers, canary before stable."""
    from torchfinch.release.history import read_history
    from torchfinch.release.view import DECISION_COLUMNS, decision_cells, is_decision

    path = find_release(name).history
    records = read_history(path) if path.exists() else []
    pairs = zip(records, [None, *records], strict=False)
    chosen = [record for record, before in pairs if everything or is_decision(record, before)]
    if as_json:
        for record in chosen:
            print(json.dumps(record))
        return
    out.print(table(DECISION_COLUMNS, map(decision_cells, chosen)))


@app.command()
def stop(name: Name) -> None:
    """End a release's Envoy and both of its servers; its state and history stay."""
    from torchfinch.release.local.servers import local_router

    store = find_release(name, begun=False)
    if store.controlled:
        raise TorchfinchError(f"a controller of {name} is at work", "end it first, with Ctrl-C where it runs")
    local_router(name, home=HOME).stop()
    err.print(f"stopped {name}")


for _command in (dashboard, replay, simulate):
    app.command()(_command)


def _show(run: "Callable[..., Tick]", store: "FileStore", *, until_done: bool) -> "Tick":
    """Turn the controller's loop and show each turn: a live table on a terminal, lines of news on a pipe."""
    from rich.live import Live

    if not err.is_terminal:
        return run(until=_until(_News(), until_done=until_done))
    with Live(console=err, auto_refresh=False) as live:
        return run(until=_until(lambda _tick: _redraw(live, store), until_done=until_done))


def _until(show: "Callable[[Tick], None]", *, until_done: bool) -> "Callable[[Tick], bool]":
    """Show a turn, and say whether it is the last to wait for."""
    from torchfinch.release.state import UNDERWAY, Phase

    def over(tick: "Tick") -> bool:
        show(tick)
        at_rest = tick.decision.state.phase not in {*UNDERWAY, Phase.ROLLING_BACK}
        if until_done and tick.seen.offered is None and at_rest:
            raise TorchfinchError(f"there is nothing to release: {'; '.join(tick.trouble)}")
        return until_done and tick.outcome is not None

    return over


def _redraw(live: "Live", store: "FileStore") -> None:
    from torchfinch.release.history import last_record
    from torchfinch.release.view import board

    record = last_record(store.history)
    if record:
        live.update(board(record), refresh=True)


class _News:
    """Prints what a turn says that the one before did not; a reason in which only numbers changed is none."""

    def __init__(self) -> None:
        self._told: object = None

    def __call__(self, tick: "Tick") -> None:
        from torchfinch.release.view import line, subjects

        state, trouble = tick.decision.state, subjects(tick.trouble)
        news = (state.phase, state.weight, re.sub(r"[\d.]+", "", state.reason), tick.decision.notes, trouble)
        if news != self._told:
            self._told = news
            notes = [note for note in tick.decision.notes if note != state.reason]
            err.print("\n  ".join([line(tick), *notes, *tick.trouble]), markup=False, soft_wrap=True)


def _ask(name: str, action: _Action | None = None, *, paused: bool | None = None) -> None:
    store = find_release(name)
    store.ask(action, paused=paused)
    word = action or "pause"
    err.print(f"asked {name} to {word}")
    if not store.controlled:
        err.print("no controller runs, so nothing happens yet: torchfinch canary run MANIFEST", style="yellow")
