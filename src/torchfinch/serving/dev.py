"""A development server: one archive in one Python process, for breakpoints and for dropping an image on a page.

It answers `POST /predict` and `GET /health` beside TorchServe's routes. For production use `torchfinch serve`.
"""

import threading
import traceback
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from typing import Any

from flask import Flask, Response, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from torchfinch.archive import ArchiveInfo, read_archive, unpack
from torchfinch.errors import TorchfinchError
from torchfinch.testing import FakeContext, load_handler


def create_app(archive: Path, folder: Path) -> Flask:
    """A Flask application that serves `archive`, unpacked into `folder`.

    Raises:
        TorchfinchError: the file is no archive, or unsafe to unpack, or its handler does not load; its traceback is in
            the message.
    """
    info = read_archive(archive)
    unpack(archive, folder)
    routes = _Routes(info, _Worker(folder))
    app = Flask(__name__)
    app.add_url_rule("/", view_func=routes.page)
    app.add_url_rule("/health", view_func=routes.health)
    app.add_url_rule("/predict", view_func=routes.predict, methods=["POST"])
    for model in (info.name, f"{info.name}/{info.version}"):
        app.add_url_rule(f"/predictions/{model}", view_func=routes.predictions, methods=["POST", "PUT"])
        app.add_url_rule(f"/explanations/{model}", view_func=routes.explanations, methods=["POST", "PUT"])
    app.register_error_handler(HTTPException, _failed)
    return app


class _Routes:
    def __init__(self, info: ArchiveInfo, worker: "_Worker") -> None:
        self._info = info
        self._worker = worker

    def page(self) -> Response:
        text = (resources.files("torchfinch.serving") / "dev.html").read_text(encoding="utf-8")
        named = text.replace("{{model}}", self._info.name).replace("{{version}}", self._info.version)
        return Response(named, mimetype="text/html")

    def health(self) -> dict[str, str]:
        return {"status": "healthy"}

    def predict(self) -> Any:
        """One image in, as base64 JSON or in any other form; the probabilities of all classes as a list out."""
        response = self._worker.respond(_row(), {**_headers(), "torchfinch-top-k": "all"})
        answer = response.get_json(force=True, silent=True)
        given = answer if isinstance(answer, dict) else {}
        if response.status_code != HTTPStatus.OK:
            return {"error": given.get("message", answer)}, response.status_code
        labels, probabilities = self._info.labels, given.get("probabilities", {})
        if not labels or set(labels) - set(probabilities):
            other = f"ask /predictions/{self._info.name} for anything else"
            wanted = f"/predict answers one image with all probabilities; {other}"
            return {"error": wanted}, HTTPStatus.UNPROCESSABLE_ENTITY
        chosen = {key: given[key] for key in ("predicted_class", "confidence")}
        return {**chosen, "probabilities": [probabilities[label] for label in labels]}

    def predictions(self) -> Response:
        return self._worker.respond(_row(), {**_headers(), "explain": "False"})

    def explanations(self) -> Response:
        return self._worker.respond(_row(), {**_headers(), "explain": "True"})


def _failed(error: HTTPException) -> Any:
    """Errors of this server in the form of TorchServe's, what a handler raised among them."""
    cause = getattr(error, "original_exception", None) or error.description
    return {"code": error.code, "type": error.name, "message": str(cause)}, error.code


class _Worker:
    """The archive's handler, one request at a time, as a TorchServe worker runs it."""

    def __init__(self, folder: Path) -> None:
        self._context = FakeContext(folder)
        try:
            self._handler = load_handler(folder, self._context)
        except Exception as error:
            problem = f"the handler does not load: {type(error).__name__}: {error}\n{traceback.format_exc()}"
            raise TorchfinchError(problem.rstrip(), "mend it, and pack the archive again") from error
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


def _plain(body: Any) -> str:
    # handlers derived from TorchServe's own return objects and leave the encoding to it
    import json  # noqa: PLC0415

    return json.dumps(body)


def _row() -> dict[str, Any]:
    if request.files or request.form:
        files = {name: file.read() for name, file in request.files.items()}
        return {**files, **{name: value.encode() for name, value in request.form.items()}}
    return {"body": bytearray(request.get_data())}


def _headers() -> dict[str, str]:
    return dict(request.headers.items())
