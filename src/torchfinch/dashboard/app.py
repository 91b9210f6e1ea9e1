"""The page's server. It hands out what is released where, so it answers only this machine, and only with its token."""

import hmac
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, abort

from torchfinch.dashboard.page import Page
from torchfinch.dashboard.source import WORDS, Source, Word
from torchfinch.errors import TorchfinchError

_HERE = {"127.0.0.1", "localhost", "::1"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def create_app(source: Source, *, token: str | None) -> Flask:
    """A Flask application over `source`; whoever asks for data must send `token`. Without one it only shows."""
    app = Flask(__name__, static_folder=None)
    page = Page(source, writable=token is not None)

    @app.before_request
    def guard() -> None:
        """Refuse other sites, which a browser would let ask, and names that were made to lead here."""
        if urlsplit(f"//{request.host}").hostname not in _HERE:
            abort(421, f"this page answers to 127.0.0.1 and localhost, not to {request.host}")
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"http://{request.host}":
            abort(403, f"another site, {origin}, may not ask here")
        given, wanted = (text.encode() for text in (request.headers.get("Authorization", ""), f"Bearer {token}"))
        if token is not None and request.path.startswith("/api/") and not hmac.compare_digest(given, wanted):
            abort(401, "the token is missing or wrong: open the address that torchfinch canary dashboard printed")

    @app.after_request
    def sealed(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    for path, text, kind in _files():
        app.add_url_rule(path, path, _answering(text, kind))

    @app.get("/api/releases")
    def releases() -> Response:
        """All releases as a table and one of them whole, as HTML; 304 where nothing has changed."""
        response = Response(page.render(request.args.get("release", "")), mimetype="text/html")
        response.add_etag()
        response.make_conditional(request)
        return response

    @app.post("/api/releases/<path:name>/<word>")
    def ask(name: str, word: Word) -> Any:
        if token is None:
            abort(403, "this page only shows")
        if word not in WORDS:
            abort(404, f"{word} is no word of a release: {', '.join(WORDS)}")
        source.ask(name, word)
        return {"message": f"asked {name} to {word}"}

    @app.errorhandler(TorchfinchError)
    def failed(error: TorchfinchError) -> Any:
        return {"message": str(error)}, 502

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Any:
        return {"message": error.description}, error.code

    return app


def _files() -> Iterator[tuple[str, str, str]]:
    own, report = resources.files("torchfinch.dashboard") / "static", resources.files("torchfinch.report")
    style = (report / "templates" / "style.css").read_text(encoding="utf-8")
    yield "/", (own / "dashboard.html").read_text(encoding="utf-8"), "text/html"
    yield "/dashboard.js", (own / "dashboard.js").read_text(encoding="utf-8"), "text/javascript"
    yield "/style.css", style + (own / "dashboard.css").read_text(encoding="utf-8"), "text/css"


def _answering(text: str, kind: str) -> Callable[[], Response]:
    return lambda: Response(text, mimetype=kind)
