"""Fixtures for every test: the colour model of `colours.py`, as a run and as an archive."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is loaded; tests share the cores with servers

import pytest
from colours import write_colour_run

from torchfinch.archive import pack_run

# A shell without job control starts `make test &` with SIGINT ignored, and what tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent
SERVED = {"e2e", "loadtest", "release", "serving"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of tests that run side by side, one process has those that start TorchServe, which have ports in common.

    Those of a cluster are in one process too, since they share its control plane.
    """
    for item in items:
        parts = item.path.relative_to(TESTS).parts
        if item.get_closest_marker("slow") and parts[0] in SERVED:
            group = "cluster" if parts[:2] == ("release", "cluster") else "servers"
            item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Where pytest-xdist does not write the group into a test's name, it does not heed it, and servers share ports."""
    grouped = [item for item in session.items if item.get_closest_marker("xdist_group")]
    if getattr(session.config.option, "loadgroup", False) and not all("@" in item.nodeid for item in grouped):
        raise pytest.UsageError("pytest-xdist does not heed groups with this pytest: see pyproject.toml")


@pytest.fixture(autouse=True)
def _no_registry() -> Iterator[None]:
    """MLflow leaves the address of its last server in the environment, where a person would name one."""
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def colour_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of the colour model."""
    return write_colour_run(tmp_path_factory.mktemp("run") / "colours")


@pytest.fixture(scope="session")
def colour_archive(colour_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The colour model packed as `colours` 1.0 with the stock classifier."""
    output = tmp_path_factory.mktemp("store") / "colours.mar"
    return pack_run(colour_run, name="colours", version="1.0", output=output)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The Chromium of this machine."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    missing = "needs Chromium on the PATH: apt install chromium"
    if chromium is None and os.environ.get("CI") != "true":
        pytest.skip(missing)
    assert chromium, missing
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """An empty page of the browser; nothing may be written to its console."""
    opened, said = browser.new_page(), []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    yield opened
    opened.close()
    assert said == []
