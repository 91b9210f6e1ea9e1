"""`torchfinch dev`: one archive in one Python process, with a page to drop an image on."""

import logging
import tempfile
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
    from werkzeug.serving import make_server

    from torchfinch.serving.config import check_free
    from torchfinch.serving.dev import create_app

    try:
        check_free(port)
    except TorchfinchError as error:
        raise TorchfinchError(error.message, "choose another with --port") from error
    with tempfile.TemporaryDirectory(prefix="torchfinch-dev-") as folder:
        app = create_app(archive, Path(folder))
        logging.getLogger("werkzeug").setLevel(logging.INFO)
        err.print(f"http://127.0.0.1:{port}  (Ctrl-C stops it)")
        try:
            make_server("127.0.0.1", port, app, threaded=True).serve_forever()
        except KeyboardInterrupt:
            err.print("stopped")
