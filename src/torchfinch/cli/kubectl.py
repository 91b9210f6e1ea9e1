"""`kubectl torchfinch`: the words of `torchfinch canary` for the CanaryReleases of a cluster.

kubectl finds the executable `kubectl-torchfinch` on the PATH and hands it the rest of the line. Everything here is done
with the user's own kubeconfig, and by changing the resource: there is no server to speak to.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchfinch.cli import canary
from torchfinch.cli import main as run
from torchfinch.console import err, out, table
from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    from torchfinch.release.cluster.api import Object
    from torchfinch.release.cluster.records import Record
    from torchfinch.release.state import State

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Look at the CanaryReleases of a cluster, and say what to do."
)

_QUIET = 5
"""Seconds after which `watch` looks at the clock, where nothing changes."""
_AGAIN = 1
"""Seconds before it asks again, where the API server did not answer."""
Name = Annotated[str, typer.Argument(help="The CanaryRelease's name.", show_default=False)]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Its namespace; else the context's.")]
Context = Annotated[str | None, typer.Option(help="A context of the kubeconfig.")]
Kubeconfig = Annotated[Path | None, typer.Option(help="The kubeconfig; else $KUBECONFIG or ~/.kube/config.")]


def main() -> None:
    """The executable `kubectl-torchfinch`."""
    run(partial(app, prog_name="kubectl torchfinch"))


@app.command()
def get(
    name: Annotated[str | None, typer.Argument(help="One release; all if not given.", show_default=False)] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    as_json: canary.AsJson = False,
) -> None:
    """Show where releases stand."""
    releases = _Releases(namespace, context, kubeconfig)
    from torchfinch.release.view import SUMMARY_COLUMNS, summary

    found = [releases.one(name)[0]] if name else releases.all()
    looks = {each["metadata"]["name"]: _last_look(each) for each in found}
    if as_json:
        print(json.dumps({known: asdict(state) for known, (state, _) in looks.items()}, indent=2))
        return
    if not found:
        err.print(f"no CanaryRelease in namespace {releases.namespace}")
        return
    out.print(table(SUMMARY_COLUMNS, [summary(known, *look) for known, look in looks.items()]))


@app.command()
def watch(name: Name, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None) -> None:
    """Follow a release; ends with Ctrl-C."""
    releases = _Releases(namespace, context, kubeconfig)
    from rich.live import Live

    from torchfinch.release.cluster.records import newest
    from torchfinch.release.view import board

    try:
        with Live(console=out, auto_refresh=False) as live:
            for found, trouble in releases.follow(name):
                told = [trouble] if trouble else _unattended(found)
                live.update(board(newest(found), *told), refresh=True)
    except KeyboardInterrupt:
        return


@app.command()
def history(
    name: Name,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    as_json: canary.AsJson = False,
) -> None:
    """List the last decisions of a release with their numbers, canary before stable."""
    releases = _Releases(namespace, context, kubeconfig)
    from torchfinch.release.cluster.records import decisions
    from torchfinch.release.view import DECISION_COLUMNS, decision_cells

    found, _ = releases.one(name)
    if as_json:
        for kept in found.get("status", {}).get("decisions", []):
            print(json.dumps(kept))
        return
    out.print(table(DECISION_COLUMNS, map(decision_cells, decisions(found))))


def _wish(word: str) -> Callable[..., None]:
    def ask(name: Name, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None) -> None:
        releases = _Releases(namespace, context, kubeconfig)
        from torchfinch.release.cluster.resource import wish

        releases.change(name, wish(word))
        err.print(f"asked {name} to {word}")

    return ask


for _word in (canary.promote, canary.abort, canary.retry, canary.skip, canary.pause, canary.resume):
    app.command(_word.__name__, help=_word.__doc__)(_wish(_word.__name__))


class _Releases:
    """The CanaryReleases of a namespace."""

    def __init__(self, namespace: str | None, context: str | None, kubeconfig: Path | None) -> None:
        if kubeconfig:
            os.environ["KUBECONFIG"] = str(kubeconfig)  # the client reads it when it is imported
        from torchfinch.release.cluster.api import Api
        from torchfinch.release.cluster.kinds import RELEASES

        self._api: Api = Api(context)
        self._kind = RELEASES
        self.namespace = namespace or self._api.namespace

    def all(self) -> "list[Object]":
        """Every one."""
        return self._api.list_all(self._kind.path(self.namespace))[0]

    def one(self, name: str) -> "tuple[Object, str]":
        """The one of this name, and a version to watch from.

        Raises `TorchfinchError` where there is none.
        """
        listed = self._api.get(self._kind.path(self.namespace), fieldSelector=f"metadata.name={name}")
        if not listed["items"]:
            known = ", ".join(each["metadata"]["name"] for each in self.all()) or "none"
            raise TorchfinchError(
                f"there is no CanaryRelease {name} in namespace {self.namespace} (known: {known})",
                "kubectl get canary -A",
            )
        return listed["items"][0], str(listed["metadata"]["resourceVersion"])

    def change(self, name: str, spec: "Object") -> None:
        """Change some fields of its spec."""
        self.one(name)
        self._api.merge(self._kind.path(self.namespace, name), {"spec": spec})

    def follow(self, name: str) -> "Iterator[tuple[Object, str]]":
        """The one of this name now, after each change and now and then without one, with what stands in the way.

        Raises `TorchfinchError` where there is none, and where the first answer does not come.
        """
        from torchfinch.release.cluster.api import ApiError

        found: Object | None = None
        while True:
            try:
                found, version = self.one(name)
                yield found, ""
                for event in self._api.watch(self._kind.path(self.namespace), version, seconds=_QUIET):
                    if event["type"] == "MODIFIED" and event["object"]["metadata"]["name"] == name:
                        found = event["object"]
                        yield found, ""
            except ApiError as error:
                if found is None or not error.passing:
                    raise
                yield found, str(error)
                time.sleep(_AGAIN)


def _last_look(found: "Object") -> "tuple[State, Record]":
    """What is remembered of a release, and its last look; a spec that cannot be read is the reason."""
    from torchfinch.release.cluster.records import newest
    from torchfinch.release.cluster.resource import parse_spec
    from torchfinch.release.cluster.status import read_state

    state = read_state(found.get("status", {}))
    try:
        parse_spec(found)
    except TorchfinchError as error:
        state = replace(state, reason=error.message)
    return state, {**newest(found), "reason": state.reason}


def _unattended(found: "Object") -> Iterator[str]:
    """Where a release is under way and no controller has looked for a while, or its spec cannot be read here."""
    from torchfinch.release.cluster.resource import parse_spec
    from torchfinch.release.cluster.status import read_state
    from torchfinch.release.state import UNDERWAY

    state = read_state(found.get("status", {}))
    waited = time.time() - state.at
    if not state.at:
        yield "no controller has looked at it yet: kubectl get lease torchfinch-controller"
        return
    try:
        late = waited > parse_spec(found).analysis.freshness
    except TorchfinchError as error:
        yield error.message
        return
    if state.phase in UNDERWAY and late:
        yield f"no controller has looked for {waited:.0f} s: kubectl get lease torchfinch-controller"
