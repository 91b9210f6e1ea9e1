"""What `torchfinch loadtest` says before any load, where none is possible."""

import socket
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from loadtest.conftest import Run, raise_error
from typer.testing import CliRunner

from torchfinch.cli.loadtest import loadtest
from torchfinch.errors import TorchfinchError
from torchfinch.loadtest import LoadTest, read_summary


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


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"url": 1}'])
def test_a_file_that_is_no_summary_is_said(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "summary.json").write_text(content)
    with pytest.raises(TorchfinchError, match=r"summary"):
        read_summary(tmp_path)


def test_the_settings_have_sensible_defaults(image: Path) -> None:
    assert LoadTest(url="http://127.0.0.1:8080", model="digits", images=(image,)).seconds == 30
