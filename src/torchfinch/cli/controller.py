"""`torchfinch controller`: the process that drives the CanaryReleases of a cluster."""

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchfinch.cli.outcomes import RegistryUri, outcomes
from torchfinch.console import err

if TYPE_CHECKING:
    from torchfinch.release.cluster.api import Api


def controller(
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="The namespace; the context's, or the pod's own.")
    ] = None,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Every namespace.")] = False,
    context: Annotated[str | None, typer.Option(help="A context of the kubeconfig.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Releases looked at at the same time, at most.")] = 8,
    alone: Annotated[
        bool, typer.Option("--alone", help="Do not wait for the Lease; only where no other controller can run.")
    ] = False,
    dashboard: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Show the releases as a page on this port of the loopback address."),
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option(help="The folder of those that spec.diff names: requests for both versions.")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(help="Keep every look as FOLDER/NAMESPACE/NAME.jsonl, for canary replay.", metavar="FOLDER"),
    ] = None,
    registry: RegistryUri = None,
) -> None:
    """Drive the CanaryReleases of a cluster: one JSON line per decision on stdout; ends when the Lease is lost."""
    from torchfinch.release.cluster.api import Api
    from torchfinch.release.cluster.leader import lead
    from torchfinch.release.cluster.operator import Operator

    api = Api(context)
    home = namespace or api.namespace
    told = outcomes(registry)
    operator = Operator(
        api, namespace=None if everywhere else home, workers=workers, outcomes=told, inputs=inputs, records=record
    )
    with _page(api, None if everywhere else home, port=dashboard) if dashboard else nullcontext():
        if alone:
            operator.run()
            return
        err.print(f"waiting for the Lease torchfinch-controller in namespace {home}")
        lead(api, operator.run, namespace=home, identity=f"{socket.gethostname()}-{uuid.uuid4()}")


@contextmanager
def _page(api: "Api", namespace: str | None, *, port: int) -> Iterator[None]:
    """The read-only dashboard; `kubectl port-forward` leads to it, by the rights of whoever asks."""
    from torchfinch.dashboard import create_app, serve
    from torchfinch.dashboard.cluster import ClusterReleases

    with serve(create_app(ClusterReleases(api, namespace=namespace), token=None), port=port) as url:
        err.print(f"the releases are shown at {url}")
        yield
