"""`torchfinch loadtest` against a real HTTP server: a few seconds of real locust each."""

import csv
import json
import os
import signal
import socket
import sys
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest
from loadtest.conftest import Run, invoke, make_image, raise_error
from typer.testing import Result
from waiting import within

from torchfinch.errors import TorchfinchError
from torchfinch.loadtest import read_summary
from torchfinch.project import carried

pytestmark = pytest.mark.slow


def summary(tmp_path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((tmp_path / "out" / "summary.json").read_text())
    return content


LIMITS = ("--limit", "p95=5s", "--limit", "errors=0%", "--limit", "throughput=1")


@pytest.fixture(scope="module")
def measured(steady_server: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A load test that keeps its limits: its folder, and what the command said."""
    folder = tmp_path_factory.mktemp("measured")
    return folder, invoke(steady_server.url, make_image(folder / "three.png"), folder, *LIMITS, "--json")


def test_a_good_server_keeps_its_limits_and_leaves_every_file(
    steady_server: Any, measured: tuple[Path, Result]
) -> None:
    folder, result = measured
    assert result.exit_code == 0, result.output
    assert {file.name for file in (folder / "out").iterdir()} == {
        "summary.json",
        "stats.csv",
        "history.csv",
        "report.html",
    }
    found = summary(folder)
    assert found["failures"] == 0
    assert found["requests"] > 20
    assert 1 <= found["p50"] <= found["p95"] <= found["p99"]
    assert [limit["ok"] for limit in found["limits"]] == [True, True, True]
    assert found["requests"] == len(steady_server.behaviour.asked) - 1  # the first one asks whether there is a server


def test_the_last_answer_is_in_every_file(measured: tuple[Path, Result]) -> None:
    folder, _ = measured
    with (folder / "out" / "stats.csv").open() as stream:
        rows = {row["Name"]: row for row in csv.DictReader(stream)}
    assert int(rows["Aggregated"]["Request Count"]) == summary(folder)["requests"]


def test_json_is_the_summary_alone_on_stdout(measured: tuple[Path, Result]) -> None:
    folder, result = measured
    assert json.loads(result.stdout) == summary(folder)


def test_a_summary_survives_its_file(measured: tuple[Path, Result]) -> None:
    folder, _ = measured
    assert read_summary(folder / "out").to_dict() == summary(folder)


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


def test_an_earlier_result_is_replaced(run: Run, tmp_path: Path) -> None:
    run()
    run("--users", "1")
    assert read_summary(tmp_path / "out").users == 1
    assert [file.name for file in tmp_path.glob(".out*")] == []


@pytest.mark.parametrize(("number", "ignored_at_start"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_signal_ends_the_test_and_keeps_what_was_measured(
    server: Any, image: Path, tmp_path: Path, *, number: signal.Signals, ignored_at_start: bool
) -> None:
    """A shell starts `torchfinch loadtest … &` with SIGINT ignored; that must not keep locust running."""
    ignore = ("sh", "-c", "trap '' INT; exec \"$@\"", "sh") if ignored_at_start else ()
    process = start(server, image, tmp_path, "--duration", "60s", "--users", "2", shell=ignore)
    assert within(60, lambda: len(server.behaviour.asked) > 50)
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
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    process = start(server, image, tmp_path, "--web", "--web-port", str(port))
    assert within(60, lambda: answers(port))
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert f"http://127.0.0.1:{port}" in stderr
    assert locusts_on(server.url) == []


def test_locust_ends_itself_when_its_parent_is_killed(server: Any, image: Path, tmp_path: Path) -> None:
    process = start(server, image, tmp_path, "--duration", "60s", "--users", "1")
    assert within(60, lambda: len(server.behaviour.asked) > 20)
    process.kill()
    process.communicate()
    assert within(60, lambda: locusts_on(server.url) == [])
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


def start(server: Any, image: Path, tmp_path: Path, *options: str, shell: tuple[str, ...] = ()) -> Popen[str]:
    """The command as a process of its own; `shell` is what runs it."""
    program = "import typer; from torchfinch.cli.loadtest import loadtest; typer.run(loadtest)"
    command = [sys.executable, "-c", program, server.url, "--model", "digits", "--image", str(image)]
    return Popen([*shell, *command, "--output", str(tmp_path / "out"), *options], stdout=PIPE, stderr=PIPE, text=True)


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
