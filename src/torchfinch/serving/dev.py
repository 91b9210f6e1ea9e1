"""A development server: one archive in one Python process, for breakpoints and for dropping an image on a page.

It answers the requirement's own routes beside TorchServe's. For production use `torchfinch serve`.
"""

import threading
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from typing import Any

from flask import Flask, Response, request
from werkzeug.datastructures import Headers

from torchfinch.archive import read_archive, unpack
from torchfinch.testing import FakeContext, load_handler


def create_app(archive: Path, folder: Path) -> Flask:
    """A Flask application that serves `archive`, unpacked into `folder`.

    Raises:
        TorchfinchError: the file is no archive, or unsafe to unpack.
    """
    info = read_archive(archive)
    unpack(archive, folder)
    worker = _Worker(folder)
    app = Flask(__name__)

    @app.get("/")
    def page() -> Response:
        text = (resources.files("torchfinch.serving") / "dev.html").read_text(encoding="utf-8")
        return Response(text.replace("{{model}}", info.name).replace("{{version}}", info.version), mimetype="text/html")

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "healthy"}

    @app.post("/predict")
    def predict() -> Any:
        """The requirement's form: base64 JSON in, the probabilities of all classes as a list out."""
        content = request.get_json(silent=True)
        row = {"image": (content or {}).get("image"), "top_k": "all"} if isinstance(content, dict) else None
        status, _, answer = worker.json({"body": row if row is not None else request.get_data()}, {})
        if status != HTTPStatus.OK or not info.labels:
            return {"error": answer.get("message", answer)}, status
        probabilities = [answer["probabilities"][label] for label in info.labels]
        return {
            "predicted_class": answer["predicted_class"],
            "confidence": answer["confidence"],
            "probabilities": probabilities,
        }

    @app.route(f"/predictions/{info.name}", methods=["POST", "PUT"])
    def predictions() -> Response:
        return worker.respond(_row(), {**_headers(), "explain": "False"})

    @app.route(f"/explanations/{info.name}", methods=["POST", "PUT"])
    def explanations() -> Response:
        return worker.respond(_row(), {**_headers(), "explain": "True"})

    return app


class _Worker:
    """The archive's handler, one request at a time, as a TorchServe worker runs it."""

    def __init__(self, folder: Path) -> None:
        self._context = FakeContext(folder)
        self._handler = load_handler(folder, self._context)
        self._lock = threading.Lock()

    def respond(self, row: dict[str, Any], headers: dict[str, str]) -> Response:
        """The handler's answer as an HTTP response."""
        with self._lock:
            self._context.new_batch([headers])
            [body] = self._handler.handle([row], self._context)
            status, _ = self._context.get_response_status(0)
            sent = Headers(list(self._context.get_response_headers(0).items()))
        text = body if isinstance(body, (bytes, bytearray, str)) else _plain(body)
        return Response(bytes(text) if isinstance(text, bytearray) else text, status=status, headers=sent)

    def json(self, row: dict[str, Any], headers: dict[str, str]) -> tuple[int, Headers, Any]:
        """Status, headers and decoded body."""
        response = self.respond(row, headers)
        return response.status_code, response.headers, response.get_json(force=True, silent=True)


def _plain(body: Any) -> str:
    # handlers derived from TorchServe's own return objects and leave the encoding to it
    import json  # noqa: PLC0415

    return json.dumps(body)


def _row() -> dict[str, Any]:
    if request.files:
        files = {name: file.read() for name, file in request.files.items()}
        return {**files, **{name: value.encode() for name, value in request.form.items()}}
    return {"body": bytearray(request.get_data())}


def _headers() -> dict[str, str]:
    return dict(request.headers.items())
