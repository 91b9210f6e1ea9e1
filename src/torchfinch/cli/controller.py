"""`torchfinch controller`: the process that drives the CanaryReleases of a cluster."""

import socket
import uuid
from typing import Annotated

import typer

from torchfinch.cli.outcomes import RegistryUri, outcomes
from torchfinch.console import err


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
    registry: RegistryUri = None,
) -> None:
    """Drive the CanaryReleases of a cluster: one JSON line per decision on stdout; ends when the Lease is lost."""
    from torchfinch.release.cluster.api import Api
    from torchfinch.release.cluster.leader import lead
    from torchfinch.release.cluster.operator import Operator

    api = Api(context)
    home = namespace or api.namespace
    told = outcomes(registry)
    operator = Operator(api, namespace=None if everywhere else home, workers=workers, outcomes=told)
    if alone:
        operator.run()
        return
    err.print(f"waiting for the Lease torchfinch-controller in namespace {home}")
    lead(api, operator.run, namespace=home, identity=f"{socket.gethostname()}-{uuid.uuid4()}")
