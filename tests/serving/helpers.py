"""Handmade archives, and looks at the processes of a server."""

import os
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import cycle
from pathlib import Path

import psutil
import torch

from torchfinch.serving import Instance

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]

SIZES = """
import time


class Sizes:
    def initialize(self, context):
        self.initialized = True

    def handle(self, data, context):
        return [self.answer(bytes(row.get("body") or row.get("data") or b"")) for row in data]

    def answer(self, body):
        if body.startswith(b"sleep "):
            time.sleep(float(body.split()[1]))
        return {"size": len(body)}
"""
CAUGHT = SIZES.replace(
    "        self.initialized = True",
    """        import sys, time, traceback

        try:
            import not_there
        except ImportError:
            traceback.print_exc(file=sys.stdout)
            time.sleep(1)  # longer than the server is looked at
        self.initialized = True""",
)
MISSING_MODULE = "import a_module_that_is_not_there\n" + SIZES
DERIVED = """
from ts.torch_handler.image_classifier import ImageClassifier


class Colours(ImageClassifier):
    topk = 2
"""
NETWORK = """
import torch


class Channels(torch.nn.Module):
    def forward(self, x):
        return x.mean(dim=(2, 3))
"""
NO_LABELS = SIZES.replace("self.initialized = True", "raise ValueError('labels.json is missing')")


def plain_archive(
    folder: Path,
    name: str,
    handler: str = SIZES,
    *,
    config: str = "",
    version: str = "1.0",
    parts: Sequence[str] = (),
) -> Path:
    """An archive by the stock torch-model-archiver with a handler that knows nothing of torchfinch."""
    folder.mkdir(parents=True, exist_ok=True)
    work = folder.parent / f"{folder.name}-{name}-{version}"
    work.mkdir()
    (work / f"{name}.py").write_text(handler)
    (work / "model-config.yaml").write_text(textwrap.dedent(config))
    options = ["--config-file", str(work / "model-config.yaml")] if config else []
    command = [
        *(str(BIN / "torch-model-archiver"), "--model-name", name, "--version", version),
        *("--handler", str(work / f"{name}.py"), "--export-path", str(work), *options, *parts),
    ]
    # the archiver works in a folder of the system's temporary folder that it names after the model
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "TMPDIR": str(work)})
    return Path(shutil.move(work / f"{name}.mar", folder / f"{name}-{version}.mar"))


def derived_archive(folder: Path, name: str, *, version: str) -> Path:
    """An archive as TorchServe's users have them: a handler derived from its own, a network, its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    network = folder / "channels.py"
    network.write_text(NETWORK)
    torch.save({}, network.with_suffix(".pt"))
    parts = ("--model-file", str(network), "--serialized-file", str(network.with_suffix(".pt")))
    return plain_archive(folder, name, DERIVED, version=version, parts=parts)


class _Answering(BaseHTTPRequestHandler):
    """Answers predictions in turn, and hangs up for `None`."""

    answers: Iterator[bytes | None]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = next(self.answers)
        if body is not None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def answering(*answers: bytes | None) -> AbstractContextManager[str]:
    """The address of a server that answers predictions in turn, again and again; for `None` it hangs up."""
    return answering_by(cycle(answers))


@contextmanager
def answering_by(answers: Iterator[bytes | None]) -> Iterator[str]:
    """The same, by what `answers` brings."""
    handler = type("Handler", (_Answering,), {"answers": answers})
    with HTTPServer(("0.0.0.0", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def leaving(body: bytes) -> Iterator[str]:
    """The address of a server that is gone after one answer."""
    handler = type("Handler", (_Answering,), {"answers": iter([body])})

    def answer() -> None:
        with server:
            server.handle_request()

    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=answer)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    thread.join()


@contextmanager
def silent() -> Iterator[str]:
    """The address of a server that takes requests and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def processes_of(folder: Path) -> list[str]:
    """Command lines of the running processes that belong to `folder`."""
    lines = (_command_line(process) for process in psutil.process_iter())
    return [" ".join(line) for line in lines if any(str(folder) in argument for argument in line)]


def workers_of(instance: Instance, model: str) -> list[int]:
    """Process ids of a model's workers."""
    return [worker["pid"] for version in instance.management.describe(model) for worker in version["workers"]]


def can_connect(address: str, port: int) -> bool:
    """Whether something accepts a TCP connection."""
    with socket.socket() as client:
        client.settimeout(5)
        try:
            client.connect((address, port))
        except OSError:
            return False
        return True


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
