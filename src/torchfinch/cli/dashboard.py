"""`torchfinch canary dashboard`: the releases as a page in a browser."""

import os
import secrets
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchfinch.cli.releases import HOME
from torchfinch.console import err, out
from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    from torchfinch.dashboard import Source


def dashboard(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 chooses one.")] = 8070,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Of a cluster; else the context's."),
    ] = None,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Every namespace of a cluster.")] = False,
    context: Annotated[str | None, typer.Option(help="A context of the kubeconfig.")] = None,
    kubeconfig: Annotated[Path | None, typer.Option(help="Else $KUBECONFIG or ~/.kube/config.")] = None,
) -> None:
    """Show releases live in a browser, with buttons; prints the address, which holds a token. Ctrl-C ends it.

    The releases on this machine, or, with any of the other options, those of a cluster.
    """
    from torchfinch.dashboard import LocalReleases, create_app, serve
    from torchfinch.serving.config import check_free

    source: Source = LocalReleases(HOME)
    if namespace or everywhere or context or kubeconfig:
        source = cluster_releases(namespace, everywhere=everywhere, context=context, kubeconfig=kubeconfig)
    if port:
        try:
            check_free(f"http://127.0.0.1:{port}")
        except TorchfinchError as error:
            raise TorchfinchError(error.message, "choose another with --port") from error
    token = secrets.token_urlsafe(32)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with serve(create_app(source, token=token), port=port) as url:
            out.print(f"{url}#{token}", markup=False, soft_wrap=True)
            err.print(f"shows the releases in {source.place}; Ctrl-C ends it", markup=False, soft_wrap=True)
            signal.pause()
    except KeyboardInterrupt:
        return


def cluster_releases(
    namespace: str | None, *, everywhere: bool, context: str | None, kubeconfig: Path | None
) -> "Source":
    """The CanaryReleases that a kubeconfig, or a pod's service account, leads to."""
    if kubeconfig:
        os.environ["KUBECONFIG"] = str(kubeconfig)  # the client reads it when it is imported
    from torchfinch.dashboard.cluster import ClusterReleases
    from torchfinch.release.cluster.api import Api

    api = Api(context)
    return ClusterReleases(api, namespace=None if everywhere else namespace or api.namespace)
