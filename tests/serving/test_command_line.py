"""The serving commands as a user runs them, beside a real server."""

import csv
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import typer
from colours import colour_image
from serving.helpers import BIN, SIZES, answering, answering_by, leaving, plain_archive
from waiting import within

from torchfinch.cli.predict import predict
from torchfinch.cli.ready import ready
from torchfinch.console import err
from torchfinch.errors import TorchfinchError
from torchfinch.serving import DEFAULT, Instance
from torchfinch.serving.config import free_ports
from torchfinch.serving.instance import HOME
from torchfinch.serving.process import started_at

Run = Callable[..., subprocess.CompletedProcess[str]]
Ask = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ask(server: Instance, torchfinch: Run) -> Ask:
    """Run a command in the project of the shared server."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        [command, *rest] = arguments
        words = [command, rest.pop(0)] if command == "models" else [command]
        return torchfinch(*words, "--name", "shared", *rest, cwd=server.folder.parents[2])

    return run


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of two images and something that is none."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    (folder / "a.png").write_bytes(colour_image("red"))
    (folder / "b.jpg").write_bytes(b"not an image")
    (folder / "more" / "c.jpeg").write_bytes(colour_image("blue", file_format="JPEG"))
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.mark.slow
def test_ready_exits_0_and_says_how_many_workers(ask: Ask) -> None:
    done = ask("ready", "--json")

    assert done.returncode == 0, done.stderr
    assert {each["model"]: (each["ready"], each["workers"]) for each in json.loads(done.stdout)} == {
        "colours": (1, 1),
        "sizes": (1, 1),
    }


@pytest.mark.slow
def test_ready_replays_the_golden_requests_of_a_model(ask: Ask) -> None:
    assert ask("ready", "--golden", "--model", "colours").returncode == 0
    plain = ask("ready", "--golden", "--model", "sizes")
    assert "its archive has no golden requests" in plain.stdout


@pytest.mark.slow
def test_a_model_whose_worker_is_loading_is_not_ready(ask: Ask, server: Instance, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waits = f"from pathlib import Path\n        while not Path({str(gate)!r}).exists():\n            time.sleep(0.05)"
    archive = plain_archive(tmp_path / "made", "late", SIZES.replace("self.initialized = True", waits))
    shutil.copy(archive, server.store)
    asked = {"url": archive.name, "initial_workers": "1", "synchronous": "false"}
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(server.socket)), timeout=60) as client:
        assert client.post("http://localhost/models", params=asked).is_success
    try:
        done = ask("ready", "--model", "late")
        assert (done.returncode, "0/1" in done.stdout, "workers are UNLOADING" in done.stdout) == (1, True, True)
        gate.touch()
        assert within(30, lambda: server.management.ready("late"))
        assert ask("ready", "--model", "late").returncode == 0
    finally:
        gate.touch()
        server.management.unregister("late")
        (server.store / archive.name).unlink()


def test_a_probe_does_not_wait_for_a_server_that_hangs(
    server_that_hangs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(server_that_hangs)
    monkeypatch.setattr("torchfinch.cli.ready._ANSWER_SECONDS", 0.2)

    with pytest.raises(TorchfinchError, match=r"^not ready: no TorchServe answers on .*hung\.sock: timed out"):
        ready()


@pytest.fixture
def server_that_hangs(tmp_path: Path) -> Iterator[Path]:
    """The project of a server whose management socket takes questions and never answers."""
    folder, path = tmp_path / HOME / "servers" / DEFAULT, tmp_path / "hung.sock"
    folder.mkdir(parents=True)
    urls = {"inference_url": "http://127.0.0.1:1", "metrics_url": "http://127.0.0.1:1"}
    paths = {"folder": str(folder), "socket": str(path), "store": str(tmp_path)}
    itself = {"name": DEFAULT, "pid": os.getpid(), "started": started_at(os.getpid())}
    (folder / "instance.json").write_text(json.dumps({**itself, **urls, **paths}))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield tmp_path


@pytest.mark.slow
def test_a_further_version_is_registered_scaled_made_the_default_and_unregistered(ask: Ask, server: Instance) -> None:
    def workers() -> dict[str, int]:
        return {each["modelVersion"]: len(each["workers"]) for each in server.management.describe("sizes")}

    assert ask("models", "register", "sizes-2.0.mar").stderr == "registered sizes-2.0.mar\n"
    try:
        assert workers() == {"1.0": 1, "2.0": 1}
        scaled = ask("models", "scale", "sizes", "2", "--version", "2.0")
        assert (scaled.returncode, scaled.stderr) == (0, "sizes has 2 workers\n")
        assert workers() == {"1.0": 1, "2.0": 2}
        assert ask("models", "set-default", "sizes", "2.0").stderr == "sizes 2.0 is the default\n"
        [described] = json.loads(ask("models", "describe", "sizes", "--version", "2.0").stdout)
        assert (described["modelUrl"], len(described["workers"])) == ("sizes-2.0.mar", 2)
        assert "sizes 1.0" in ask("models", "set-default", "sizes", "1.0").stderr
    finally:
        done = ask("models", "unregister", "sizes", "--version", "2.0")
    assert done.stderr == "unregistered sizes 2.0\n"
    assert workers() == {"1.0": 1}


@pytest.mark.slow
def test_models_are_listed_as_a_table_and_as_json(ask: Ask) -> None:
    assert "1/1 READY" in ask("models", "list").stdout
    assert {each["modelName"] for each in json.loads(ask("models", "list", "--json").stdout)} == {"colours", "sizes"}
    assert ask("models", "scale", "nobody", "2").stderr.startswith("error: TorchServe refused")


@pytest.mark.slow
def test_a_folder_is_classified_and_a_bad_file_is_a_row(ask: Ask, images: Path) -> None:
    done = ask("predict", images, "--model", "colours", "--csv", "-")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))

    assert done.returncode == 1
    assert [(Path(row["image"]).name, row["label"]) for row in rows] == [
        ("a.png", "red"),
        ("b.jpg", ""),
        ("c.jpeg", "blue"),
    ]
    assert "status 4" in rows[1]["error"]
    assert "1 of 3 images failed" in done.stderr


@pytest.mark.slow
def test_one_image_is_one_line_of_json(ask: Ask, images: Path) -> None:
    done = ask("predict", images / "a.png", "--model", "colours", "--json", "--top-k", "all")

    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["probabilities"]) == {"red", "green", "blue"}


@pytest.mark.slow
def test_the_answer_of_a_plain_handler_is_shown_as_it_is(ask: Ask, images: Path) -> None:
    done = ask("predict", images / "a.png", "--model", "sizes", "--json")

    assert json.loads(done.stdout)["size"] == (images / "a.png").stat().st_size


@pytest.mark.slow
def test_the_table_of_a_plain_handler_shows_its_answer(ask: Ask, images: Path) -> None:
    assert '{"size": ' in ask("predict", images / "a.png", "--model", "sizes").stdout


@pytest.mark.slow
def test_the_csv_file_of_a_plain_handler_has_its_answer(ask: Ask, images: Path) -> None:
    [row] = csv.DictReader(io.StringIO(ask("predict", images / "a.png", "--model", "sizes", "--csv", "-").stdout))

    assert json.loads(row["answer"]) == {"size": (images / "a.png").stat().st_size}


@pytest.mark.parametrize(
    ("answer", "columns", "shown"),
    [
        ({"label": "cat"}, {"answer": '{"label": "cat"}'}, '{"label": "cat"}'),
        ({"values": {"age": 3.5, "size": 2}}, {"age": "3.5", "size": "2"}, '"age": 3.5'),
        ([1, 2], {"answer": "[1, 2]"}, "[1, 2]"),
        ("ü", {"answer": '"ü"'}, '"ü"'),
        (
            {"predicted_class": 1, "label": "b", "confidence": "high", "probabilities": [0.1, 0.9]},
            {"predicted_class": "1", "label": "b", "confidence": "high"},
            "high",
        ),
    ],
)
def test_whatever_a_handler_answers_is_shown_and_written(
    torchfinch: Run, images: Path, answer: object, columns: dict[str, str], shown: str
) -> None:
    with answering(json.dumps(answer).encode()) as url:
        command = ("predict", images / "a.png", "--url", url, "--model", "m")
        [row] = csv.DictReader(io.StringIO(torchfinch(*command, "--csv", "-").stdout))
        table = torchfinch(*command).stdout

    assert row == {"image": str(images / "a.png"), **columns, "error": ""}
    assert shown in table


@pytest.mark.parametrize("form", [["--csv", "-"], ["--json"], []])
def test_an_image_without_an_answer_is_a_row(torchfinch: Run, images: Path, form: list[str]) -> None:
    with answering(b'{"label": "cat"}', None, b'{"label": "dog"}') as url:
        done = torchfinch("predict", ".", "--url", url, "--model", "m", *form, cwd=images)

    names = ("a.png", "b.jpg", "c.jpeg")
    first, second, third = [line for line in done.stdout.splitlines() if any(name in line for name in names)]
    assert "cat" in first
    assert f"no answer from {url}: Server disconnected" in second
    assert "dog" in third
    assert done.returncode == 1
    assert done.stderr.endswith("1 of 3 images failed\n")


def test_what_a_server_answered_before_it_was_gone_is_kept(torchfinch: Run, images: Path) -> None:
    with leaving(b'{"label": "cat"}') as url:
        done = torchfinch("predict", images, "--url", url, "--model", "m", "--csv", "-")

    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["answer"] for row in rows] == ['{"label": "cat"}', "", ""]
    assert all("Connection refused" in row["error"] for row in rows[1:])
    assert done.returncode == 1


def test_a_server_that_answers_nothing_any_more_is_not_asked_about_a_thousand_images(
    torchfinch: Run, tmp_path: Path
) -> None:
    (tmp_path / "many").mkdir()
    for number in range(1000):
        (tmp_path / "many" / f"{number:04}.png").write_bytes(b"x")
    with leaving(b'{"label": "cat"}') as url:
        done = torchfinch("predict", tmp_path / "many", "--url", url, "--model", "m", "--csv", "-")

    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [bool(row["error"]) for row in rows] == [False] + 5 * [True]
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "no answer to 5 images in a row: the server is not asked again",
        "5 of 6 images failed",
        "994 of 1000 images were not asked about",
    ]


def test_an_interrupt_keeps_the_answers_so_far(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    over = threading.Event()

    def answers() -> Iterator[bytes]:
        yield b'{"label": "cat"}'
        os.kill(os.getpid(), signal.SIGINT)  # while the second image waits for its answer
        over.wait(30)
        yield b"too late"

    with answering_by(answers()) as url:
        with pytest.raises(typer.Exit) as ended:
            predict([images], url=url, model="m", csv_file=tmp_path / "answers.csv")
        over.set()

    rows = list(csv.DictReader((tmp_path / "answers.csv").read_text().splitlines()))
    assert [row["answer"] for row in rows] == ['{"label": "cat"}']
    assert ended.value.exit_code == 1
    assert "2 of 3 images were not asked about" in capsys.readouterr().err


def test_where_no_server_is_nothing_is_written(torchfinch: Run, images: Path, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    done = torchfinch("predict", images, "--url", url, "--model", "m", "--csv", tmp_path / "answers.csv")

    assert done.returncode == 1
    assert done.stderr.startswith(f"error: no answer from {url}: [Errno 111] Connection refused\n")
    assert not (tmp_path / "answers.csv").exists()


@pytest.mark.parametrize("as_json", [False, True])
def test_on_a_terminal_predict_draws_a_bar_and_its_answers_go_to_stdout(
    as_json: bool, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(err, "_force_terminal", True)
    monkeypatch.setattr(err, "is_interactive", True)
    with answering(b'{"label": "cat"}') as url:
        predict([images], url=url, model="the-model", as_json=as_json)
    told = capsys.readouterr()

    assert "the-model" in told.err
    assert told.out.count('"label": "cat"') == 3


def test_one_image_is_explained_at_a_time(torchfinch: Run, images: Path) -> None:
    done = torchfinch("explain", images, "--url", "http://127.0.0.1:1", "--model", "m")

    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {images} has 3 images, and one is explained at a time\n")


@pytest.mark.slow
def test_a_server_with_several_models_asks_which(ask: Ask, images: Path) -> None:
    done = ask("predict", images / "a.png")

    assert done.returncode == 1
    assert "colours, sizes" in done.stderr
    assert "--model" in done.stderr


@pytest.mark.slow
def test_an_explanation_is_a_png_or_numbers(ask: Ask, images: Path, tmp_path: Path) -> None:
    drawn, numbers = tmp_path / "heat.png", tmp_path / "heat.json"

    assert ask("explain", images / "a.png", "--model", "colours", "--method", "saliency", "-o", drawn).returncode == 0
    assert ask("explain", images / "a.png", "--model", "colours", "--target", "2", "-o", numbers).returncode == 0
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert json.loads(numbers.read_text())["target"] == 2


@pytest.mark.slow
def test_an_explanation_that_makes_no_sense_writes_nothing(ask: Ask, images: Path, tmp_path: Path) -> None:
    done = ask("explain", images / "a.png", "--model", "colours", "--target", "99", "-o", tmp_path / "heat.png")

    assert done.returncode == 1
    assert "status 422" in done.stderr
    assert not (tmp_path / "heat.png").exists()


@pytest.mark.slow
def test_servers_are_listed_and_one_that_runs_is_not_started_again(ask: Ask, server: Instance) -> None:
    [listed] = json.loads(ask("serve", "--list", "--json").stdout)
    again = ask("serve", "--store", server.store, "--model", "sizes=sizes-1.0.mar")

    assert (listed["name"], listed["pid"]) == ("shared", server.pid)
    assert again.returncode == 1
    assert "runs already" in again.stderr


@pytest.mark.slow
def test_a_server_is_detached_asked_by_its_socket_and_stopped(torchfinch: Run, server: Instance) -> None:
    started = torchfinch("serve", "--detach", "--name", "two", "--store", server.store, "--model", "s=sizes-1.0.mar")
    assert started.returncode == 0, started.stderr
    try:
        [listed] = json.loads(torchfinch("serve", "--list", "--json").stdout)
        assert torchfinch("ready", "--socket", listed["socket"]).returncode == 0
    finally:
        assert torchfinch("serve", "--stop", "--name", "two").returncode == 0
    assert torchfinch("ready", "--name", "two").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ready"], "no server called default runs here"),
        (["serve", "--stop", "--name", "x"], "no server called x runs here"),
        (["serve"], "there is no archive in model_store"),
        (["serve", "--model", "nothing.mar"], "there is no archive model_store/nothing.mar"),
        (["predict", "nothing.png"], "there is no file nothing.png"),
        (["dev", "nothing.mar"], "there is no archive nothing.mar"),
        (["ready", "--socket", "nothing.sock"], "no TorchServe answers on nothing.sock"),
    ],
)
def test_an_error_is_one_sentence_and_what_to_do(torchfinch: Run, arguments: list[str], words: str) -> None:
    done = torchfinch(*arguments)

    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 2
    assert done.stdout == ""


@pytest.fixture
def unsafe(store: Path) -> Iterator[str]:
    """An archive of the store with an entry that would leave its folder."""
    path = store / "unsafe.mar"
    shutil.copy(store / "sizes-1.0.mar", path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../evil.py", "")
    yield path.name
    path.unlink()


def test_an_archive_that_is_given_a_name_is_looked_at_too(torchfinch: Run, store: Path, unsafe: str) -> None:
    done = torchfinch("serve", "--store", store, "--model", f"sizes={unsafe}")

    assert done.returncode == 1
    assert "unsafe.mar is refused: the entry '../evil.py' leaves" in done.stderr


@pytest.mark.slow
def test_an_archive_is_looked_at_before_it_is_registered(ask: Ask, unsafe: str) -> None:
    done = ask("models", "register", unsafe, "--model", "unsafe")

    assert done.returncode == 1
    assert "unsafe.mar is refused: the entry '../evil.py' leaves" in done.stderr


@pytest.mark.parametrize("chosen", [[], ["--model", "sizes-1.0.mar", "--model", "sizes-2.0.mar"]])
def test_two_archives_of_one_model_are_named_and_not_served(torchfinch: Run, store: Path, chosen: list[str]) -> None:
    done = torchfinch("serve", "--store", store, *chosen)

    assert done.returncode == 1
    assert "sizes-1.0.mar and sizes-2.0.mar are both of the model sizes" in done.stderr
    assert "--model NAME=sizes-2.0.mar" in done.stderr


def test_the_development_server_logs_plainly_and_leaves_nothing_after_a_signal(
    torchfinch: Run, store: Path, tmp_path: Path
) -> None:
    [port] = free_ports(1)
    command = [str(BIN / "torchfinch"), "dev", str(store / "colours.mar"), "--port", str(port)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    said = process.stderr.readline() + process.stderr.readline()
    assert httpx.get(f"http://127.0.0.1:{port}/health").json() == {"status": "healthy"}
    process.terminate()
    said += process.stderr.read()
    process.stderr.close()

    assert process.wait(30) == 0
    assert "loading" in said
    assert "GET /health 200\nstopped" in said
    assert not list(tmp_path.iterdir())


def test_a_project_with_a_space_in_its_name_is_quoted(torchfinch: Run) -> None:
    assert "cd 'my project' &&" in torchfinch("init", "my project").stderr


def test_an_archive_tells_all_of_its_files(torchfinch: Run, store: Path) -> None:
    shown = torchfinch("inspect", store / "colours.mar").stdout

    assert "..." not in shown
    for part in ("torchfinch/handler/requests.py", "data_digest"):
        assert part in shown


@pytest.mark.parametrize("arguments", [["serve", "--port", "70000"], ["ready", "--nonsense"], ["predict"]])
def test_wrong_usage_exits_2(torchfinch: Run, arguments: list[str]) -> None:
    assert torchfinch(*arguments).returncode == 2


def test_the_probe_does_not_load_torch() -> None:
    script = (
        "import sys\nfrom torchfinch.cli import build\nimport torchfinch.serving\nbuild()\n"
        "print([name for name in ('torch', 'sklearn', 'matplotlib', 'flask', 'kubernetes') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_doctor_finds_what_is_needed(torchfinch: Run) -> None:
    done = torchfinch("doctor", "--json")
    found = {each["name"]: each for each in json.loads(done.stdout)}

    assert done.returncode == 0, done.stderr
    assert all(found[name]["ok"] for name in ("python", "torch", "torchserve", "java", "envoy"))
    assert {"curl", "optuna", "mlflow", "pyarrow", "mlxtend"} <= found.keys()


@pytest.mark.parametrize(
    ("address", "ok", "words"),
    [("127.0.0.1", True, "free"), ("192.0.2.1", False, "cannot be opened on 192.0.2.1"), (None, None, "is taken")],
)
def test_doctor_looks_where_the_default_server_would_listen(
    torchfinch: Run, tmp_path: Path, address: str | None, ok: bool | None, words: str
) -> None:
    ports = free_ports(4)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        if address is None:
            ports[0] = taken.getsockname()[1]
        names = ("inference", "metrics", "grpc_inference", "grpc_management")
        hosts = [f"http://{address or '127.0.0.1'}:{ports[0]}", f"http://127.0.0.1:{ports[1]}"]
        lines = [f"{name}_address={host}" for name, host in zip(names, hosts, strict=False)]
        lines += [f"{name}_port={port}" for name, port in zip(names[2:], ports[2:], strict=True)]
        (tmp_path / "config.properties").write_text("\n".join(lines))
        found = {each["name"]: each for each in json.loads(torchfinch("doctor", "--json").stdout)}

    assert found["ports"]["ok"] is ok
    assert words in found["ports"]["detail"]


def test_doctor_says_what_is_broken(torchfinch: Run, tmp_path: Path) -> None:
    done = torchfinch("doctor", TORCHFINCH_JAVA=str(tmp_path))

    assert done.returncode == 1
    assert "to mend: java" in done.stderr
