"""The whole of it with two real TorchServes, by the command line, with archives that know nothing of torchfinch."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from colours import colour_image
from release.helpers import Release
from serving.helpers import BIN, MISSING_MODULE, derived_archive, plain_archive, processes_of

from torchfinch.release.history import read_history
from torchfinch.release.local.store import FileStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A folder with three versions and a manifest; what was started in it is ended, and nothing may be left."""
    store = tmp_path / "model_store"
    plain_archive(store, "sizes")
    derived_archive(store, "sizes", version="2.0")
    plain_archive(store, "sizes", MISSING_MODULE, version="3.0")
    made = Release(tmp_path)
    made.write("unused", model="sizes", analysis={"maxLatencyRatio": None, "maxMeanLatency": None})
    text = made.manifest.read_text().replace("name: m\n", "name: sizes\n")
    text = text.replace(str(tmp_path / "stable.mar"), "model_store/sizes-1.0.mar")
    made.manifest.write_text(text.replace(str(tmp_path / "canary.mar"), "model_store/sizes-2.0.mar"))
    yield tmp_path
    subprocess.run([BIN / "torchfinch", "canary", "stop", "sizes"], cwd=tmp_path, check=True, capture_output=True)
    assert processes_of(tmp_path) == []


def start(project: Path) -> subprocess.Popen[str]:
    command = [str(BIN / "torchfinch"), "canary", "run", "release.yaml", "--until-done"]
    return subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True)


def test_a_release_outlives_its_controller_and_a_broken_archive_never_gets_traffic(project: Path) -> None:
    store = FileStore(project / ".torchfinch" / "releases" / "sizes")
    release = Release(project)
    controller = start(project)
    while not store.exists or store.load().weight == 0:
        assert controller.poll() is None, controller.communicate()[1]
        time.sleep(0.2)
    controller.kill()
    _, said = controller.communicate()
    assert "starting the canary" in said
    assert said.count("sizes 1.0 is stable") == 1
    servers = sorted(processes_of(project))

    with release.traffic(path="predictions/sizes", body=colour_image("red")) as statuses:
        time.sleep(1)
        controller = start(project)
        _, said = controller.communicate(timeout=240)

        assert controller.returncode == 0, said
        assert "2.0 is stable now" in said
        told = [re.sub(r"[\d.:]+", "", line) for line in said.splitlines()]
        assert all(before != after for before, after in pairwise(told)), "a wait is told once, however long it is"
        assert sorted(processes_of(project)) == servers, "nothing that serves is started again"

        release.manifest.write_text(release.manifest.read_text().replace("sizes-2.0", "sizes-3.0"))
        controller = start(project)
        _, said = controller.communicate(timeout=240)

        assert controller.returncode == 1, said
        assert "the canary could not be started" in said
        assert "a_module_that_is_not_there" in said
    assert set(statuses) == {200}
    history = read_history(store.history)
    assert list(dict.fromkeys(line["weight"] for line in history)) == [0, 5, 25, 50, 100]


def test_ctrl_c_leaves_servers_and_weights_and_says_how_to_end_them(project: Path) -> None:
    controller = start(project)
    store = FileStore(project / ".torchfinch" / "releases" / "sizes")
    while not store.exists:
        assert controller.poll() is None, controller.communicate()[1]
        time.sleep(0.2)
    controller.send_signal(signal.SIGINT)
    _, said = controller.communicate(timeout=120)

    assert "torchfinch canary stop sizes" in said
    assert len(processes_of(project)) >= 2
