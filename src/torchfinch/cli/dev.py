"""`torchfinch dev`: one archive in one Python process, with a page to drop an image on."""

import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from torchfinch.console import err
from torchfinch.errors import TorchfinchError


def dev(
    archive: Annotated[Path, typer.Argument(help="The .mar file.", show_default=False)],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 5000,
) -> None:
    """Serve an archive for development: breakpoints work, and / is a page; stops with Ctrl-C."""
    from torchfinch.archive import read_archive
    from torchfinch.serving.config import check_free

    url = f"http://127.0.0.1:{port}"
    try:
        check_free(url)
    except TorchfinchError as error:
        raise TorchfinchError(error.message, "choose another with --port") from error
    info = read_archive(archive)
    err.print(f"loading {info.name} {info.version} ...")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # the unpacked archive goes, as after Ctrl-C
    with tempfile.TemporaryDirectory(prefix="torchfinch-dev-") as folder, suppress(KeyboardInterrupt):
        _serve(archive, Path(folder), port)
    err.print("stopped")


def _serve(archive: Path, folder: Path, port: int) -> None:
    from werkzeug.serving import WSGIRequestHandler, make_server

    from torchfinch.serving.dev import create_app

    class Handler(WSGIRequestHandler):
        """Logs a line per request, without the colours that werkzeug would write into a file as well."""

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002
            err.print(f"{self.command} {self.path} {code}", markup=False, soft_wrap=True)

    app = create_app(archive, folder)
    with make_server("127.0.0.1", port, app, threaded=True, request_handler=Handler) as server:
        err.print(f"http://127.0.0.1:{port}  (Ctrl-C stops it)")
        server.serve_forever()
