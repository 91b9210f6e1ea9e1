"""A real web server that stands for whoever is asked or told by a release."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hook:
    """Answers every request with `status` and `answer`, after `free` is set, and keeps what it was sent."""

    def __init__(self) -> None:
        self.status = 200
        self.answer: Any = 1
        self.raw: bytes | None = None
        self.bodies: list[Any] = []
        self.paths: list[str] = []
        self.came = threading.Event()
        self.free = threading.Event()
        self.free.set()
        self.url = ""


@contextmanager
def hook() -> Iterator[Hook]:
    """A hook that listens while the block runs."""
    made = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            made.bodies.append(json.loads(body) if body else None)
            made.paths.append(self.path)
            made.came.set()
            made.free.wait(30)
            self.send_response(made.status)
            self.end_headers()
            self.wfile.write(json.dumps(made.answer).encode() if made.raw is None else made.raw)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield made
    finally:
        made.free.set()
        server.shutdown()
        thread.join()
        server.server_close()
