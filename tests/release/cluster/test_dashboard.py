"""The dashboard of a cluster: with the user's own kubeconfig, and the controller's, which only shows."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from release.cluster.place import BIN, Cluster, Controller
from release.cluster.world import World

from torchfinch.serving.config import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@contextmanager
def started(*words: str, kubeconfig: Path, log: Path) -> Iterator[subprocess.Popen[str]]:
    """A command of torchfinch while the block runs."""
    with log.open("w") as stream:
        process = subprocess.Popen(
            [BIN / "torchfinch", *words],
            env={**os.environ, "KUBECONFIG": str(kubeconfig)},
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


def shown(client: httpx.Client, *wanted: str, seconds: float = 60) -> str:
    """The page's content, once it has all that is wanted."""
    end = time.monotonic() + seconds
    while True:
        try:
            answer = client.get("/api/releases")
            if all(each in answer.text for each in wanted):
                return answer.text
        except httpx.ConnectError:
            answer = None
        assert time.monotonic() < end, answer and answer.text
        time.sleep(0.3)


def test_a_release_of_a_cluster_is_shown_live_and_its_buttons_change_the_resource(
    cluster: Cluster, world: World, controller: Controller, tmp_path: Path
) -> None:
    words = ("canary", "dashboard", "--port", "0", "--namespace", cluster.namespace)
    with started(*words, kubeconfig=cluster.kubeconfig, log=tmp_path / "log") as process:
        assert process.stdout
        url, token = process.stdout.readline().strip().split("#")
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
            shown(client, 'data-release="digits"')
            cluster.patch("canary", "digits", {"spec": {"analysis": {"minRequests": 100_000}}})
            cluster.release_version("2.0")
            shown(client, "0 → 25 %", "Error rate")
            answer = client.post("/api/releases/digits/pause")
            assert answer.json() == {"message": "asked digits to pause"}
            assert cluster.get("canary", "digits")["spec"]["paused"]
            shown(client, "Paused", 'data-word="resume"')
            client.post("/api/releases/digits/resume")
            cluster.patch("canary", "digits", {"spec": {"analysis": {"minRequests": 50}}})
            page = shown(client, "Promoted</span>", "50 → 100 %")
            assert "all requests so far" in page
            assert client.post("/api/releases/cats/abort").status_code == 502


def test_the_controller_shows_its_releases_with_its_own_rights_and_takes_no_word(
    cluster: Cluster, world: World, controller: Controller, tmp_path: Path
) -> None:
    [port] = free_ports(1)
    words = ("controller", "--dashboard", str(port))  # a second one, which waits for the Lease
    with (
        started(*words, kubeconfig=tmp_path / "kubeconfig", log=tmp_path / "log"),
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        page = shown(client, 'data-release="digits"')
        assert "data-word" not in page
        assert client.post("/api/releases/digits/abort").status_code == 403
        assert "action" not in cluster.get("canary", "digits")["spec"]
