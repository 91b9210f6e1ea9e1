"""Servers that are started, hurt and stopped, and what is left of them."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
from serving.helpers import (
    BIN,
    CAUGHT,
    NO_LABELS,
    ROOT,
    SIZES,
    can_connect,
    plain_archive,
    processes_of,
    workers_of,
)
from waiting import within

from torchfinch.errors import TorchfinchError
from torchfinch.serving import Client, Instance, find_instance, list_instances, start_instance
from torchfinch.serving.config import free_ports

pytestmark = pytest.mark.slow
Start = Callable[..., Instance]


def ask(instance: Instance, body: bytes = b"hello") -> tuple[int, Any]:
    with Client(instance.inference_url) as client:
        answer = client.predict("sizes", body)
        return answer.status, answer.content


def test_a_plain_archive_is_served_found_and_stopped_without_a_trace(start: Start, tmp_path: Path) -> None:
    instance = start()
    port = int(instance.inference_url.rsplit(":", 1)[1])
    [worker] = workers_of(instance, "sizes")

    assert ask(instance) == (200, {"size": 5})
    assert list_instances(home=tmp_path / ".torchfinch") == [instance]
    assert oct(instance.folder.stat().st_mode)[-3:] == "700"

    instance.stop()

    assert not instance.alive
    assert not psutil.pid_exists(worker)
    assert not can_connect("127.0.0.1", port)
    assert not instance.socket.parent.exists()
    assert list_instances(home=tmp_path / ".torchfinch") == []
    assert processes_of(tmp_path) == []
    instance.stop()  # a second time is nothing


def test_a_killed_server_takes_its_workers_along_and_starts_again(start: Start, tmp_path: Path) -> None:
    instance = start()
    [worker] = workers_of(instance, "sizes")

    psutil.Process(instance.pid).kill()

    assert within(20, lambda: not psutil.pid_exists(worker) or psutil.Process(worker).status() == "zombie")
    assert within(20, lambda: find_instance("one", home=tmp_path / ".torchfinch") is None)
    assert ask(start())[0] == 200


def test_the_process_of_someone_else_is_not_mistaken_for_the_server(server: Instance) -> None:
    home = server.folder.parents[1]
    record = server.folder / "instance.json"
    kept = record.read_text()
    record.write_text(json.dumps({**asdict(server), "pid": os.getpid()}, default=str))
    try:
        assert find_instance(server.name, home=home) is None
    finally:
        record.write_text(kept)
    assert find_instance(server.name, home=home) == server


def test_a_long_path_is_no_obstacle(start: Start, tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    instance = start(home=deep / ".torchfinch")

    assert len(str(instance.socket)) < 108
    assert ask(instance)[0] == 200
    psutil.Process(instance.pid).kill()
    assert within(20, lambda: find_instance("one", home=deep / ".torchfinch") is None)

    again = start(home=deep / ".torchfinch")
    assert not instance.socket.parent.exists()
    again.stop()
    assert not again.socket.parent.exists()


def test_only_requests_in_flight_fail_when_a_worker_is_killed_under_load(start: Start) -> None:
    instance = start()
    instance.management.scale("sizes", 2)
    victim = workers_of(instance, "sizes")[0]
    clients = 4
    over = time.monotonic() + 8

    def load(_: int) -> Counter[int]:
        statuses: Counter[int] = Counter()
        with Client(instance.inference_url) as client:
            while time.monotonic() < over:
                statuses[client.predict("sizes", b"sleep 0.01").status] += 1
        return statuses

    with ThreadPoolExecutor(clients) as pool:
        counts = pool.map(load, range(clients))
        time.sleep(2)
        psutil.Process(victim).kill()
        statuses = sum(counts, Counter[int]())

    assert statuses[200] > 100
    assert sum(statuses.values()) - statuses[200] <= clients
    assert within(60, lambda: instance.management.ready("sizes"))
    assert victim not in workers_of(instance, "sizes")


def test_a_full_queue_of_a_plain_archive_answers_503_and_recovers(start: Start, tmp_path: Path) -> None:
    config = "minWorkers: 1\nmaxWorkers: 1\njobQueueSize: 2\nresponseTimeout: 60\nstartupTimeout: 60\n"
    archive = plain_archive(tmp_path / "store", "sizes", config=config)
    instance = start(models={"sizes": archive.name}, store=archive.parent)

    with ThreadPoolExecutor(10) as pool:
        statuses = Counter(status for status, _ in pool.map(lambda _: ask(instance, b"sleep 1"), range(10)))

    assert set(statuses) == {200, 503}
    assert statuses[200] >= 3
    assert ask(instance)[0] == 200


def test_a_handler_that_raises_while_loading_is_quoted(start: Start, tmp_path: Path) -> None:
    archive = plain_archive(tmp_path / "store", "broken", NO_LABELS)

    with pytest.raises(TorchfinchError, match=r"ValueError: labels\.json is missing"):
        start(models={"broken": archive.name}, store=archive.parent)

    assert processes_of(tmp_path) == []
    assert list_instances(home=tmp_path / ".torchfinch") == []


@pytest.mark.parametrize("end", ["sys.exit(3)", "os.abort()"])
def test_a_handler_that_ends_its_worker_while_loading_is_told_long_before_the_deadline(
    start: Start, tmp_path: Path, end: str
) -> None:
    handler = "import os, sys\n" + SIZES.replace("self.initialized = True", end)
    archive = plain_archive(tmp_path / "store", "broken", handler)

    with pytest.raises(TorchfinchError, match="broken does not load: its workers end without a traceback"):
        start(models={"broken": archive.name}, store=archive.parent)


def test_a_handler_that_shows_what_it_caught_is_served(start: Start, tmp_path: Path) -> None:
    archive = plain_archive(tmp_path / "store", "sizes", CAUGHT)

    assert ask(start(models={"sizes": archive.name}, store=archive.parent)) == (200, {"size": 5})


def test_of_two_tracebacks_the_one_that_ended_the_worker_is_quoted(start: Start, tmp_path: Path) -> None:
    ended = CAUGHT.replace("self.initialized = True", "raise RuntimeError('labels.json is missing')")
    archive = plain_archive(tmp_path / "store", "broken", ended)

    with pytest.raises(TorchfinchError, match=r"RuntimeError: labels\.json is missing") as raised:
        start(models={"broken": archive.name}, store=archive.parent)
    assert "not_there" not in str(raised.value)


def test_an_archive_that_is_not_there_is_named_before_anything_starts(start: Start) -> None:
    with pytest.raises(TorchfinchError, match=r"there is no .*nothing\.mar"):
        start(models={"nothing": "nothing.mar"})


def test_a_server_does_not_start_twice(start: Start, server: Instance) -> None:
    with pytest.raises(TorchfinchError, match=f"the server {server.name} runs already"):
        start(server.name, home=server.folder.parents[1])


def test_a_taken_port_is_named(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TorchfinchError, match=f"port {port} is taken"):
            start(port=port)


def test_a_chosen_port_and_a_setting_of_the_file_reach_the_server(store: Path, tmp_path: Path) -> None:
    [port] = free_ports(1)
    file = tmp_path / "config.properties"
    file.write_text((ROOT / "config.properties").read_text() + "\nmax_request_size=1000\n")
    models = {"sizes": "sizes-1.0.mar"}
    instance = start_instance(
        "small", store=store, models=models, properties=file, home=tmp_path / ".torchfinch", port=port
    )
    try:
        assert instance.inference_url == f"http://127.0.0.1:{port}"
        assert ask(instance, bytes(5000))[0] == 413
        assert ask(instance)[0] == 200
    finally:
        instance.stop()


def test_a_setting_over_several_lines_reaches_the_server(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "config.properties"
    settings = 'models: {\\\n  "sizes": {"1.0": {\\\n    "minWorkers": 2, "maxWorkers": 2, "batchSize": 3}}}\n'
    file.write_text((ROOT / "config.properties").read_text() + settings)
    [described] = start(properties=file).management.describe("sizes")

    assert (len(described["workers"]), described["batchSize"]) == (2, 3)


@pytest.mark.parametrize("name", ["../../precious", ""])
def test_a_name_that_is_a_path_is_refused_and_deletes_nothing(start: Start, tmp_path: Path, name: str) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")

    with pytest.raises(TorchfinchError, match="name"):
        start(name=name)
    assert (precious / "file").read_text() == "mine"


def test_a_folder_with_an_accent_is_no_obstacle(start: Start) -> None:
    with tempfile.TemporaryDirectory(prefix="café ") as folder:  # a short path: the socket stays in the folder
        instance = start(home=Path(folder) / ".torchfinch", timeout=40)
        assert ask(instance)[0] == 200
        instance.stop()


def test_a_model_that_the_server_refuses_is_told_at_once(start: Start, tmp_path: Path) -> None:
    store = tmp_path / "store"
    plain_archive(store, "sizes")
    shutil.copy(store / "sizes-1.0.mar", store / "again.mar")
    rubbish = store / "manifest.mar"
    with_no_json(store / "sizes-1.0.mar", rubbish)

    with pytest.raises(TorchfinchError, match="refuse"):
        start(models={"sizes": rubbish.name}, store=store, timeout=12)


def with_no_json(archive: Path, changed: Path) -> None:
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            target.writestr(name, b"{" if name.endswith("MANIFEST.json") else source.read(name))


@pytest.fixture
def project(tmp_path: Path, store: Path) -> Path:
    """A project's folder with a free port for everything."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copytree(store, folder / "model_store")
    shutil.copy(ROOT / "config.properties", folder)
    return folder


def foreground(project: Path) -> subprocess.Popen[str]:
    command = [str(BIN / "torchfinch"), "serve", "--name", "front", "--model", "sizes=sizes-1.0.mar"]
    return subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def running(project: Path) -> Instance | None:
    return find_instance("front", home=project / ".torchfinch")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_server_in_the_foreground(project: Path, number: signal.Signals) -> None:
    with foreground(project) as process:
        until_ready(process)
        process.send_signal(number)
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert "stopped front" in process.stderr.read()

    assert processes_of(project) == []


def test_a_signal_while_it_starts_leaves_nothing(project: Path) -> None:
    with foreground(project) as process:
        assert within(60, lambda: running(project) is not None)
        process.terminate()
        process.wait(60)
    try:
        assert processes_of(project) == []
    finally:
        instance = running(project)
        if instance:
            instance.stop()


def test_the_end_of_the_server_ends_the_foreground_with_an_error(project: Path) -> None:
    with foreground(project) as process:
        until_ready(process)
        instance = running(project)
        assert instance is not None
        psutil.Process(instance.pid).kill()
        assert process.wait(60) == 1
        assert process.stderr is not None
        assert "TorchServe ended by itself" in process.stderr.read()


def until_ready(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    said = ""
    while "Ctrl-C stops it" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
