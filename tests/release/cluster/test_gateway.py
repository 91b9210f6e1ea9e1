"""What the controller writes into routes, done by a real Envoy Gateway."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from release.cluster.plane import tools

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_gateway_copies_requests_loads_a_baseline_and_lets_requests_choose_their_version(tmp_path: Path) -> None:
    tool = tools()[0] / "cluster.py"
    script = Path(__file__).with_name("gateway.py")
    command = [sys.executable, str(tool), "netns", "--", sys.executable, str(script), str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])

    half = seen["all"]["users"]
    assert half.keys() == {"stable", "baseline"}
    assert 60 < half["baseline"] < 140
    assert seen["all"]["asked"] == {**half, "canary": 200}
    assert seen["a part"]["users"].keys() == {"stable", "baseline"}
    assert 25 < seen["a part"]["asked"]["canary"] < 110

    loaded, lost = seen["baseline"]["loaded"], seen["baseline"]["lost"]
    assert loaded["stable"] > 130
    assert 30 < loaded["canary"] < 95
    assert 30 < loaded["baseline"] < 95
    assert lost.keys() == {"stable", "canary"}

    choices = seen["choices"]
    for version in ("stable", "canary"):
        assert choices[f"header {version}"] == choices[f"cookie {version}"] == {version: 20}
    for chosen in ("nothing", "another cookie", "no choice"):
        assert choices[chosen].keys() == {"stable", "canary", "baseline"}
