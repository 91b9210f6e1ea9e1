"""A running MLflow server as the registry: tracked, registered, found and pulled through it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from registry.test_runs import write_run
from registry.test_tracking import newest, torchfinch
from waiting import within

from torchfinch.archive import pack_run
from torchfinch.files import sha256
from torchfinch.serving.config import free_ports

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::Warning:mlflow", "ignore::Warning:sqlalchemy", "ignore::Warning:torch"),
]


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address; what it keeps lies in a folder of its own."""
    folder, [port] = tmp_path_factory.mktemp("server"), free_ports(1)
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")),
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            assert within(120, lambda: answers(f"http://127.0.0.1:{port}/health")), (folder / "log").read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def answers(address: str) -> bool:
    try:
        return httpx.get(address, trust_env=False).is_success
    except httpx.TransportError:
        return False


def test_a_training_is_tracked_registered_and_pulled_through_a_server(server: str, here: Path) -> None:
    pack_run(write_run(here / "a", seed=3), name="colours", version="1.0", output=here / "colours.mar")
    words = ("--registry", server)
    tracked = torchfinch("runs", "track", "a", *words)
    pushed = torchfinch("push", "colours.mar", "--alias", "challenger", *words)
    pulled = torchfinch("pull", "models:/colours@challenger", "--output", "pulled", *words)

    assert tracked.exit_code == 0, tracked.exception
    run = newest(server, "colours")
    assert (run.info.status, run.data.params["seed"]) == ("FINISHED", "3")
    assert pushed.stderr == f"colours 1 (challenger), of the run {run.info.run_name}\n", pushed.exception
    assert pulled.stdout == "pulled/colours.mar\n", pulled.exception
    assert sha256(here / "pulled" / "colours.mar") == sha256(here / "colours.mar")
    assert {path.name for path in here.iterdir()} == {"a", "colours.mar", "pulled"}  # files lie with the server
