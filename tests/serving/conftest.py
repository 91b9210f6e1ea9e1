"""Real archives, a real TorchServe, and a look at what it leaves behind."""

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from torchfinch.serving import Instance, start_instance

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
START_TIMEOUT = 180

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
MISSING_MODULE = "import a_module_that_is_not_there\n" + SIZES
NO_LABELS = SIZES.replace("self.initialized = True", "raise ValueError('labels.json is missing')")

Start = Callable[..., Instance]
Run = Callable[..., subprocess.CompletedProcess[str]]


def plain_archive(folder: Path, name: str, handler: str = SIZES, *, config: str = "", version: str = "1.0") -> Path:
    """An archive by the stock torch-model-archiver with a handler that knows nothing of torchfinch."""
    folder.mkdir(parents=True, exist_ok=True)
    work = folder.parent / f"{folder.name}-{name}-{version}"
    work.mkdir()
    (work / f"{name}.py").write_text(handler)
    (work / "model-config.yaml").write_text(textwrap.dedent(config))
    options = ["--config-file", str(work / "model-config.yaml")] if config else []
    command = [
        *(str(BIN / "torch-model-archiver"), "--model-name", name, "--version", version),
        *("--handler", str(work / f"{name}.py"), "--export-path", str(work), *options),
    ]
    # the archiver works in a folder of the system's temporary folder that it names after the model
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "TMPDIR": str(work)})
    return Path(shutil.move(work / f"{name}.mar", folder / f"{name}-{version}.mar"))


def processes_of(folder: Path) -> list[str]:
    """Command lines of the running processes that belong to `folder`."""
    return [" ".join(line) for line in map(_command_line, psutil.process_iter()) if any(str(folder) in a for a in line)]


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def workers_of(instance: Instance, model: str) -> list[int]:
    """Process ids of a model's workers."""
    return [worker["pid"] for version in instance.management.describe(model) for worker in version["workers"]]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, colour_archive: Path) -> Path:
    """A model store: `colours` by the SDK and `sizes`, two versions, without it."""
    folder = tmp_path_factory.mktemp("serving") / "model_store"
    plain_archive(folder, "sizes")
    plain_archive(folder, "sizes", version="2.0")
    shutil.copy(colour_archive, folder / "colours.mar")
    return folder


@pytest.fixture
def start(tmp_path: Path, store: Path) -> Iterator[Start]:
    """Start instances that end with the test, and that must leave nothing."""
    started: list[Instance] = []

    def run(name: str = "one", models: Mapping[str, str] | None = None, **options: Any) -> Instance:
        chosen = {"sizes": "sizes-1.0.mar"} if models is None else models
        settings = {"store": store, "home": tmp_path / ".torchfinch", "timeout": START_TIMEOUT, **options}
        started.append(start_instance(name, models=chosen, properties=ROOT / "config.properties", **settings))
        return started[-1]

    yield run
    for instance in started:
        instance.stop()
    assert processes_of(tmp_path) == []


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Iterator[Instance]:
    """One server of `colours` and `sizes` for all tests that leave it as it was."""
    home = tmp_path_factory.mktemp("shared") / ".torchfinch"
    models = {"colours": "colours.mar", "sizes": "sizes-1.0.mar"}
    instance = start_instance(
        "shared", store=store, models=models, home=home, properties=ROOT / "config.properties", timeout=START_TIMEOUT
    )
    yield instance
    instance.stop()
    assert processes_of(home) == []


@pytest.fixture
def torchfinch(tmp_path: Path) -> Run:
    """Run the command line as a user does, in a folder of its own."""

    def run(*arguments: str | Path, cwd: Path = tmp_path, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / "torchfinch"), *map(str, arguments)]
        environment = {**os.environ, "COLUMNS": "200", **variables}
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240, check=False
        )

    return run
