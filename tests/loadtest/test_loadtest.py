"""`torchfinch loadtest` against a real HTTP server: a few seconds of real locust each."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from torchfinch.cli.loadtest import loadtest
from torchfinch.errors import TorchfinchError
from torchfinch.loadtest import LoadTest, read_summary
from torchfinch.project import carried

Run = Callable[..., Result]


@pytest.fixture
def run(server: Any, image: Path, tmp_path: Path) -> Run:
    """Run the command on the server; options override and add to short ones."""
    app = typer.Typer()
    app.command()(loadtest)

    def invoke(*options: str, url: str = server.url) -> Result:
        short = ["--image", str(image), "--duration", "1s", "--users", "2", "--output", str(tmp_path / "out")]
        return CliRunner().invoke(app, [url, "--model", "digits", *short, *options])

    return invoke


def summary(tmp_path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((tmp_path / "out" / "summary.json").read_text())
    return content


def test_a_good_server_keeps_its_limits_and_leaves_every_file(server: Any, run: Run, tmp_path: Path) -> None:
    result = run("--limit", "p95=5s", "--limit", "errors=0%", "--limit", "throughput=1")
    assert result.exit_code == 0, result.output
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "summary.json",
        "stats.csv",
        "history.csv",
        "report.html",
    }
    measured = summary(tmp_path)
    assert measured["failures"] == 0
    assert measured["requests"] > 20
    assert 1 <= measured["p50"] <= measured["p95"] <= measured["p99"]
    assert [limit["ok"] for limit in measured["limits"]] == [True, True, True]
    assert measured["requests"] == len(server.behaviour.asked) - 1  # the first one asks whether there is a server


def test_the_last_answer_is_in_every_file(run: Run, tmp_path: Path) -> None:
    run()
    with (tmp_path / "out" / "stats.csv").open() as stream:
        rows = {row["Name"]: row for row in csv.DictReader(stream)}
    assert int(rows["Aggregated"]["Request Count"]) == summary(tmp_path)["requests"]


def test_the_time_asked_for_is_the_time_measured(run: Run, tmp_path: Path) -> None:
    run("--duration", "3s")
    assert summary(tmp_path)["seconds"] == pytest.approx(3, abs=0.7)


def test_a_broken_limit_exits_1_and_says_which_with_value_and_limit(server: Any, run: Run, tmp_path: Path) -> None:
    server.behaviour.seconds = 0.1
    result = run("--limit", "p50=50ms", "--limit", "p99=20s")
    assert result.exit_code == 1
    assert "limit broken: p50 10" in result.stderr
    assert "limit 50 ms" in result.stderr
    assert "limit kept: p99" in result.stderr
    assert [limit["ok"] for limit in summary(tmp_path)["limits"]] == [False, True]


def test_a_throughput_of_errors_keeps_no_limit(server: Any, run: Run) -> None:
    server.behaviour.answers = ((500, b"{}"),)
    result = run("--limit", "throughput=0.1")
    assert result.exit_code == 1
    assert "limit broken: throughput 0.0/s" in result.stderr


def test_requests_are_counted_by_the_version_that_answered(server: Any, run: Run, tmp_path: Path) -> None:
    server.behaviour.versions = ("1.0", "2.0")
    result = run()
    assert set(summary(tmp_path)["versions"]) == {"1.0", "2.0"}
    total = sum(numbers["requests"] for numbers in summary(tmp_path)["versions"].values())
    assert total == summary(tmp_path)["requests"]
    assert "digits 1.0" in result.stdout
    assert "digits 2.0" in result.stdout


def test_a_server_that_signs_nothing_is_measured_without_versions(server: Any, run: Run, tmp_path: Path) -> None:
    server.behaviour.signed = False
    assert run().exit_code == 0
    assert summary(tmp_path)["versions"] == {}


NONSENSE = {
    "worker died": (500, b'{"code": 500, "message": "worker died"}'),
    "no JSON": (200, b"<html>welcome</html>"),
    "no predicted_class: b'[1, 2]'": (200, b"[1, 2]"),
    'no predicted_class: b\'{"label"': (200, b'{"label": "three"}'),
    "confidence is 1.7": (200, b'{"predicted_class": 3, "confidence": 1.7}'),
    "confidence is nan": (200, b'{"predicted_class": 3, "confidence": NaN}'),
    "confidence is 'high'": (200, b'{"predicted_class": 3, "confidence": "high"}'),
}


def test_an_answer_that_is_none_is_a_failure_with_its_reason(server: Any, run: Run, tmp_path: Path) -> None:
    server.behaviour.answers = tuple(NONSENSE.values())
    result = run("--limit", "errors=1%")
    assert result.exit_code == 1
    assert summary(tmp_path)["error_rate"] == 1.0
    reasons = [reason["reason"] for reason in summary(tmp_path)["reasons"]]
    for expected in NONSENSE:
        assert any(expected in reason for reason in reasons), expected
    assert reasons[0] in result.stderr


def test_any_200_is_a_success_when_only_the_status_is_checked(server: Any, run: Run, tmp_path: Path) -> None:
    server.behaviour.answers = ((200, b'{"three": 0.97}'),)
    assert run("--check", "status", "--limit", "errors=0%").exit_code == 0


def test_bad_images_that_are_refused_are_no_failures(run: Run, server: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(server.behaviour.refuse)
    assert run("--bad-image", str(bad), "--bad-share", "0.5", "--limit", "errors=0%").exit_code == 0
    versions = summary(tmp_path)["versions"]
    assert versions["1.0"]["requests"] > 0
    assert versions["1.0 (bad images)"]["requests"] > 0


def test_a_bad_image_that_is_answered_is_a_failure(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"the server does not know that this is bad")
    run("--bad-image", str(bad), "--bad-share", "1")
    assert summary(tmp_path)["error_rate"] == 1.0
    assert "answered with HTTP 200" in summary(tmp_path)["reasons"][0]["reason"]


def test_a_rate_is_offered_and_no_more(run: Run, tmp_path: Path) -> None:
    run("--rate", "30", "--duration", "3s")
    assert summary(tmp_path)["requests"] == pytest.approx(90, rel=0.25)


def test_a_folder_gives_its_images_and_nothing_else(server: Any, run: Run, tmp_path: Path, image: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "three.png").write_bytes(image.read_bytes())
    (folder / "golden.json").write_text("[]")
    assert run("--image", str(folder)).exit_code == 0
    assert set(server.behaviour.asked) == {len(image.read_bytes())}


def test_json_is_the_summary_alone_on_stdout(run: Run, tmp_path: Path) -> None:
    assert json.loads(run("--json").stdout) == summary(tmp_path)


def test_an_earlier_result_is_replaced(run: Run, tmp_path: Path) -> None:
    run()
    run("--users", "1")
    assert read_summary(tmp_path / "out").users == 1
    assert [file.name for file in tmp_path.glob(".out*")] == []


def test_a_folder_of_other_things_is_never_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("important")
    with pytest.raises(TorchfinchError, match=r"thesis\.tex, which is not of a load test"):
        raise_error(run())
    assert (tmp_path / "out" / "thesis.tex").read_text() == "important"


def test_a_server_that_is_not_there_is_said_at_once(run: Run, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(TorchfinchError, match="no server answers at") as raised:
            raise_error(run("--duration", "60s", url=url))
    assert "torchfinch serve" in str(raised.value)
    assert time.monotonic() - began < 5
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("url", ["http://", "nonsense", "ftp://127.0.0.1"])
def test_an_address_that_is_none_is_said(run: Run, url: str) -> None:
    with pytest.raises(TorchfinchError, match="no server answers at"):
        raise_error(run(url=url))


def test_a_model_that_is_not_served_is_said(run: Run) -> None:
    with pytest.raises(TorchfinchError, match="has no model 'flowers'"):
        raise_error(run("--model", "flowers"))


def test_an_image_that_the_server_refuses_is_said_before_the_load_begins(
    server: Any, run: Run, image: Path, tmp_path: Path
) -> None:
    image.write_bytes(server.behaviour.refuse)
    with pytest.raises(TorchfinchError, match=r"three\.png is refused with HTTP 400: .*these bytes are no image"):
        raise_error(run())
    assert len(server.behaviour.asked) == 1
    assert not (tmp_path / "out").exists()


def test_without_a_server_of_the_folder_the_model_must_be_named(image: Path) -> None:
    app = typer.Typer()
    app.command()(loadtest)
    with pytest.raises(TorchfinchError, match="the model must be named"):
        raise_error(CliRunner().invoke(app, ["http://127.0.0.1:9", "--image", str(image)]))


def test_images_that_are_not_there_are_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    app = typer.Typer()
    app.command()(loadtest)
    result = CliRunner().invoke(app, ["--model", "digits", "--image", str(tmp_path / "empty")])
    assert "no image in" in str(result.exception)
    assert CliRunner().invoke(app, ["--image", str(tmp_path / "gone.png")]).exit_code == 2


@pytest.mark.parametrize(
    "options", [("--limit", "p95=500"), ("--duration", "soon"), ("--rate", "0"), ("--users", "0"), ("--check", "no")]
)
def test_a_usage_error_exits_2(run: Run, tmp_path: Path, options: tuple[str, str]) -> None:
    assert run(*options).exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_limit_of_bad_syntax_shows_valid_ones(run: Run) -> None:
    assert "p95=500ms" in run("--limit", "p95=500").stderr


@pytest.mark.parametrize(("number", "ignored_at_start"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_signal_ends_the_test_and_keeps_what_was_measured(
    server: Any, image: Path, tmp_path: Path, *, number: signal.Signals, ignored_at_start: bool
) -> None:
    """A shell starts `torchfinch loadtest … &` with SIGINT ignored; that must not keep locust running."""
    program = "import typer; from torchfinch.cli.loadtest import loadtest; typer.run(loadtest)"
    options = [
        "--image",
        str(image),
        "--duration",
        "60s",
        "--users",
        "2",
        "--output",
        str(tmp_path / "out"),
    ]
    ignore = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"] if ignored_at_start else []
    process = subprocess.Popen(
        [*ignore, sys.executable, "-c", program, server.url, "--model", "digits", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: len(server.behaviour.asked) > 50)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert "digits 1.0" in stdout
    assert "of 60 s" in stderr
    measured = summary(tmp_path)
    assert measured["interrupted"] is True
    assert measured["requests"] >= 50
    assert measured["seconds"] < 30
    assert (tmp_path / "out" / "report.html").stat().st_size > 1000
    assert locusts_on(server.url) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_locusts_own_page_is_served_on_loopback_until_a_signal(
    server: Any, image: Path, tmp_path: Path, number: signal.Signals
) -> None:
    program = "import typer; from torchfinch.cli.loadtest import loadtest; typer.run(loadtest)"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    options = [
        "--image",
        str(image),
        "--web",
        "--web-port",
        str(port),
        "--output",
        str(tmp_path / "out"),
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", program, server.url, "--model", "digits", *options], stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: answers(port))
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert f"http://127.0.0.1:{port}" in stderr
    assert locusts_on(server.url) == []


def test_locust_ends_itself_when_its_parent_is_killed(server: Any, image: Path, tmp_path: Path) -> None:
    program = "import typer; from torchfinch.cli.loadtest import loadtest; typer.run(loadtest)"
    options = [
        "--image",
        str(image),
        "--duration",
        "60s",
        "--users",
        "1",
        "--output",
        str(tmp_path / "out"),
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", program, server.url, "--model", "digits", *options], stdout=subprocess.DEVNULL
    )
    wait_until(lambda: len(server.behaviour.asked) > 20)
    process.kill()
    process.wait()
    wait_until(lambda: locusts_on(server.url) == [])
    assert not (tmp_path / "out").exists()


def test_the_projects_own_locustfile_is_run(
    server: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    (project / "loadtests").mkdir(parents=True)
    shipped = (carried() / "loadtests" / "locustfile.py").read_text()
    changed = shipped.replace('return f"{name} (bad images)" if bad else name', 'return "mine"')
    assert changed != shipped
    (project / "loadtests" / "locustfile.py").write_text(changed)
    monkeypatch.chdir(project)
    assert run().exit_code == 0
    assert "mine" in (tmp_path / "out" / "stats.csv").read_text()


def test_a_locustfile_that_breaks_is_said(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loadtests").mkdir()
    (tmp_path / "loadtests" / "locustfile.py").write_text("raise ValueError('a slip of the pen')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TorchfinchError, match="a slip of the pen"):
        raise_error(run())
    assert not (tmp_path / "out").exists()


def test_a_summary_survives_its_file(run: Run, tmp_path: Path) -> None:
    run("--limit", "p95=5s")
    assert read_summary(tmp_path / "out").to_dict() == summary(tmp_path)


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"url": 1}'])
def test_a_file_that_is_no_summary_is_said(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "summary.json").write_text(content)
    with pytest.raises(TorchfinchError, match=r"summary"):
        read_summary(tmp_path)


def test_the_settings_have_sensible_defaults(image: Path) -> None:
    assert LoadTest(url="http://127.0.0.1:8080", model="digits", images=(image,)).seconds == 30


def raise_error(result: Result) -> None:
    assert result.exception is not None
    raise result.exception


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def locusts_on(url: str) -> list[str]:
    """Process numbers of load tests of this server that are still running."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                command = (folder / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if "locust" in command and url in command.split("\0"):
                found.append(folder.name)
    return found
