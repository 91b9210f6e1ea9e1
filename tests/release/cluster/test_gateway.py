"""What the controller writes into routes, done by a real Envoy Gateway."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from release.cluster.place import Object
from release.cluster.plane import tools

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Object:
    """What `gateway.py` saw."""
    tool, data = tools()[0] / "cluster.py", tmp_path_factory.mktemp("gateway") / "data"
    script = Path(__file__).with_name("gateway.py")
    command = [sys.executable, str(tool), "netns", "--", sys.executable, str(script), str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: Object = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_gateway_copies_requests_and_answers_none_of_them_with_a_copy(seen: Object) -> None:
    half = seen["all"]["users"]
    assert half.keys() == {"stable", "baseline"}
    assert 60 < half["baseline"] < 140
    assert seen["all"]["asked"] == {**half, "canary": 200}
    assert seen["a part"]["users"].keys() == {"stable", "baseline"}
    assert 25 < seen["a part"]["asked"]["canary"] < 110


def test_a_baseline_is_loaded_as_the_canary_is_until_it_cannot_answer(seen: Object) -> None:
    loaded, lost = seen["baseline"]["loaded"], seen["baseline"]["lost"]
    assert loaded["stable"] > 130
    assert 30 < loaded["canary"] < 95
    assert 30 < loaded["baseline"] < 95
    assert lost.keys() == {"stable", "canary"}


def test_requests_choose_their_version_by_header_or_cookie(seen: Object) -> None:
    choices = seen["choices"]
    for version in ("stable", "canary"):
        assert choices[f"header {version}"] == choices[f"cookie {version}"] == {version: 20}
    for chosen in ("nothing", "another cookie", "no choice"):
        assert choices[chosen].keys() == {"stable", "canary", "baseline"}


def test_a_user_who_chose_the_canary_has_stable_after_its_rollback(seen: Object) -> None:
    assert seen["choices"]["header after"] == seen["choices"]["cookie after"] == {"stable": 20}


def test_the_documented_route_of_an_experiment_sends_each_user_to_the_variant_that_is_drawn(seen: Object) -> None:
    answered = seen["experiment"]
    for variant in ("control", "treatment"):
        assert answered[variant].keys() == {variant}
        assert answered[variant][variant] > 10
    assert answered["nobody"] == {"control": 20}
