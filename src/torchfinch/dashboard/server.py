"""The page's address on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server


class _Quiet(WSGIRequestHandler):
    """Logs nothing: the page asks every two seconds."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing."""


@contextmanager
def serve(app: Flask, *, port: int) -> Iterator[str]:
    """Serve on the loopback address while the block runs; 0 chooses a port. Yields the URL."""
    with make_server("127.0.0.1", port, app, threaded=True, request_handler=_Quiet) as server:
        thread = Thread(target=server.serve_forever, name="dashboard", daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()
