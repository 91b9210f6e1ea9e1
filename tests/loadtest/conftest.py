"""A server of predictions without TorchServe: real HTTP, real answers, faults on demand."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from torchfinch.cli.loadtest import loadtest

Run = Callable[..., Result]

GOOD = {"predicted_class": 3, "label": "three", "confidence": 0.97, "probabilities": {"three": 0.97}}


@dataclass
class Behaviour:
    """What the server does; `answers` and `versions` come in turn."""

    seconds: float = 0.002
    answers: tuple[tuple[int, bytes], ...] = ((200, json.dumps(GOOD).encode()),)
    versions: tuple[str, ...] = ("1.0",)
    signed: bool = True
    refuse: bytes = b"no image"
    asked: list[int] = field(default_factory=list)


class Predictions(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behaviour: Behaviour

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        behaviour = self.behaviour
        behaviour.asked.append(len(body))
        if self.path.split("/")[2] != "digits":
            return self.answer(404, {"code": 404, "type": "ModelNotFoundException", "message": "Model not found"})
        if body == behaviour.refuse:
            return self.answer(400, {"code": 400, "type": "BadRequest", "message": "these bytes are no image"})
        time.sleep(behaviour.seconds)
        status, answer = behaviour.answers[len(behaviour.asked) % len(behaviour.answers)]
        return self.answer(status, answer)

    def answer(self, status: int, body: dict[str, Any] | bytes) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        if self.behaviour.signed:
            versions = self.behaviour.versions
            self.send_header("torchfinch-model", "digits")
            self.send_header("torchfinch-version", versions[len(self.behaviour.asked) % len(versions)])
        self.end_headers()
        self.wfile.write(content)

    def setup(self) -> None:
        super().setup()
        self.wfile = self.connection.makefile("wb", -1)  # one packet per answer: two would wait for each other's ACK

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Server:
    url: str
    behaviour: Behaviour


@contextmanager
def serving() -> Iterator[Server]:
    behaviour = Behaviour()
    handler = type("Handler", (Predictions,), {"behaviour": behaviour})
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
    thread.start()
    yield Server(url=f"http://127.0.0.1:{listening.server_port}", behaviour=behaviour)
    listening.shutdown()
    listening.server_close()
    thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as started:
        yield started


@pytest.fixture(scope="module")
def steady_server() -> Iterator[Server]:
    """One for many tests: nobody changes how it behaves."""
    with serving() as started:
        yield started


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make_image(tmp_path / "three.png")


def make_image(path: Path) -> Path:
    Image.new("L", (8, 8), color=200).save(path)
    return path


def invoke(url: str, image: Path, folder: Path, *options: str) -> Result:
    """Run the command on the server; options override and add to short ones."""
    app = typer.Typer()
    app.command()(loadtest)
    short = ["--image", str(image), "--duration", "1s", "--users", "2", "--output", str(folder / "out")]
    return CliRunner().invoke(app, [url, "--model", "digits", *short, *options])


@pytest.fixture
def run(server: Any, image: Path, tmp_path: Path) -> Run:
    return lambda *options, url=server.url: invoke(url, image, tmp_path, *options)


def raise_error(result: Result) -> None:
    assert result.exception is not None
    raise result.exception
