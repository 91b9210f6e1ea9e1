"""Load test of an image model: real images posted to `/predictions/{model}`, every answer checked.

    locust -f loadtests/locustfile.py --host http://127.0.0.1:8080 --model digits --image photo.jpg

opens locust's web UI; add `--headless -u 8 -t 30s` for the terminal. `torchfinch loadtest` runs this same file, so
what you change here (other routes, other checks, other users) is what it measures.
"""

import json
import random
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant_throughput, events, task
from locust.env import Environment

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


@events.init_command_line_parser.add_listener
def add_options(parser: ArgumentParser) -> None:
    """What locust's own options leave open."""
    add = parser.add_argument_group("Image model").add_argument
    add("--model", default="digits", help="Model to ask, or MODEL/VERSION")
    add("--image", action="append", default=[], help="Image to send, or a folder of images; repeat for more")
    add("--bad-image", action="append", default=[], help="File or folder that must be refused with a 4xx")
    add("--bad-share", type=float, default=0.1, help="Share of requests with a bad image (default 0.1)")
    add("--check", choices=["answer", "status"], default="answer", help="What is a success (status: any HTTP 200)")
    add("--pace", type=float, default=0.0, help="Requests per second of each user (default 0: no think time)")
    add("--request-timeout", type=float, default=30.0, help="Seconds until a request without an answer has failed")


@events.init.add_listener
def find_images(environment: Environment, **_: Any) -> None:
    """Look at the files before the first user does."""
    options: Any = environment.parsed_options
    options.images = [file for path in options.image for file in files(Path(path), suffixes=SUFFIXES)]
    options.bad_images = [file for path in options.bad_image for file in files(Path(path))]
    if not options.images:
        raise SystemExit(f"no image to send in {options.image}: pass --image FILE or --image FOLDER")


def files(path: Path, *, suffixes: set[str] | None = None) -> list[Path]:
    """The file itself, or what lies in a folder, hidden files and other suffixes left out."""
    found = [file for file in sorted(path.iterdir()) if not file.name.startswith(".")] if path.is_dir() else [path]
    return [file for file in found if file == path or (not suffixes or file.suffix.lower() in suffixes)]


class ImageUser(FastHttpUser):
    """Sends one image after the other and waits for each answer."""

    def __init__(self, environment: Environment) -> None:
        assert environment.parsed_options is not None
        self.options = environment.parsed_options
        self.network_timeout = self.connection_timeout = float(self.options.request_timeout)
        super().__init__(environment)

    def on_start(self) -> None:
        """Users that start together must not ask together for ever."""
        if self.options.pace:
            time.sleep(random.uniform(0, 1 / self.options.pace))

    def wait_time(self) -> float:
        """Seconds between two requests."""
        return constant_throughput(self.options.pace)(self) if self.options.pace else 0.0

    @task
    def predict(self) -> None:
        """One image, one answer, one verdict."""
        bad = bool(self.options.bad_images) and random.random() < self.options.bad_share
        image = random.choice(self.options.bad_images if bad else self.options.images)
        url = f"/predictions/{self.options.model}"
        with self.client.post(url, data=image.read_bytes(), catch_response=True) as response:
            response.request_meta["name"] = tag(response, model=self.options.model, bad=bad)
            fault = find_fault(response, bad=bad, check=self.options.check)
            response.failure(fault) if fault else response.success()


def tag(response: Any, *, model: str, bad: bool) -> str:
    """The row of the statistics: `digits@1.0` where the answer says who gave it, else `digits`."""
    headers = response.headers or {}
    version = headers.get("torchfinch-version")
    name = f"{headers.get('torchfinch-model', model)}@{version}" if version else model
    return f"{name} (bad images)" if bad else name


def find_fault(response: Any, *, bad: bool, check: str) -> str | None:
    """Why this is not what was asked for, in words that group well; None if it is."""
    status = response.status_code
    if not status:
        return f"no answer: {response.error!r:.120}"
    if bad:
        return None if 400 <= status < 500 else f"a bad image was answered with HTTP {status}"
    if status != 200:
        return f"HTTP {status}: {' '.join(response.content.decode(errors='replace').split()):.120}"
    return find_nonsense(response.content) if check == "answer" else None


def find_nonsense(body: bytes) -> str | None:
    """Why this is no answer of a classifier; None if it is one."""
    try:
        answer = json.loads(body)
    except ValueError:
        return f"no JSON: {body[:80]!r}"
    if not isinstance(answer, dict) or "predicted_class" not in answer:
        return f"no predicted_class: {body[:80]!r}"
    confidence = answer.get("confidence")
    good = isinstance(confidence, int | float) and 0 <= confidence <= 1
    return None if good else f"confidence is {confidence!r:.20}, not a number between 0 and 1"
