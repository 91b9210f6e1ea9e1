"""Real archives, a real TorchServe, and a look at what it leaves behind."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from serving.helpers import BIN, ROOT, plain_archive, processes_of

from torchfinch.serving import Instance, start_instance

START_TIMEOUT = 180

Start = Callable[..., Instance]
Run = Callable[..., subprocess.CompletedProcess[str]]


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
        usual = {"properties": ROOT / "config.properties", "home": tmp_path / ".torchfinch", "timeout": START_TIMEOUT}
        started.append(start_instance(name, models=chosen, **{"store": store, **usual, **options}))
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
