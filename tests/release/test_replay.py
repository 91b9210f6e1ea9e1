"""A recorded release judged by another rule: what `torchfinch canary replay` finds."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from torchfinch.cli import build
from torchfinch.errors import TorchfinchError
from torchfinch.release.local.store import FileStore
from torchfinch.release.manifest.spec import Analysis, Spec
from torchfinch.release.simulation.replay import changed, rejudge
from torchfinch.release.simulation.simulated import World
from torchfinch.release.state import Phase

MakeSpec = Callable[..., Spec]
LENIENT = {"maxErrorRate": 1.0, "maxErrorRatio": 1000.0, "maxLatencyRatio": 1000.0, "minRequests": 400}
STRICT = {"policy": "sequential", "maxErrorRate": 0.05, "maxErrorRatio": 2.0, "minRequests": 400}


def recorded(spec: Spec, *, canary: float, stable: float = 0.01, seed: int = 1) -> World:
    """A world in which a release has been played to its end, with a look every 100 requests."""
    world, random = World(), Random(seed)
    controller = world.controller(spec)
    while controller.tick().outcome is None:
        world.serve(100, error_rate={"one": stable, "two": canary}, random=random)
        world.now += spec.analysis.interval
    return world


def test_sequential_finds_in_a_record_what_it_would_have_found_live(make_spec: MakeSpec) -> None:
    steps = [{"weight": 50, "minRequests": 1500}]
    live = recorded(make_spec(steps=steps, analysis=STRICT), canary=0.08)
    lenient = recorded(make_spec(steps=steps, analysis=LENIENT), canary=0.08)
    [release] = rejudge(lenient.history, STRICT)

    back = next(line for line in live.history if line["phase"] == Phase.ROLLING_BACK)
    assert release.outcome == Phase.PROMOTED
    assert release.back
    assert release.back.record["time"] == back["time"]
    assert release.back.decision.state.reason == back["reason"]
    assert release.looks[-1] == release.back


def test_an_equal_canary_that_required_took_back_is_kept_by_sequential(make_spec: MakeSpec) -> None:
    world = recorded(make_spec(), canary=0.01, seed=5)
    [release] = rejudge(world.history, {"policy": "sequential"})

    assert release.outcome == Phase.ROLLING_BACK
    assert [(look.then, look.now) for look in release.differing] == [("back", "hold")]
    assert release.back is None


def test_under_its_own_rule_a_record_is_decided_as_it_was(make_spec: MakeSpec) -> None:
    for analysis in ({}, STRICT):
        [release] = rejudge(recorded(make_spec(analysis=analysis), canary=0.2).history, {})
        assert release.back
        assert release.differing == ()


def test_every_release_of_a_history_is_judged_with_evidence_of_its_own(make_spec: MakeSpec) -> None:
    spec = make_spec(analysis=LENIENT)
    world = recorded(spec, canary=0.2)
    world.offered = "three"
    controller = world.controller(spec)
    while controller.tick().outcome is None or world.offered != world.stable.digest:
        world.serve(100, error_rate={"two": 0.01, "three": 0.01}, random=Random(5))
        world.now += 1
    worse, equal = rejudge(world.history, STRICT)

    assert worse.back
    assert worse.canary == "two"
    assert equal.canary == "three"
    assert equal.back is None


def test_a_history_in_another_form_is_told_with_its_line() -> None:
    with pytest.raises(TorchfinchError, match="line 1 of the history lacks what a decision needs"):
        rejudge([{"time": 1.0, "input": {"seen": {"reading": 3}}}], {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maxErrorRat": 1}, "analysis has no field maxErrorRat"),
        ({"alpha": "x"}, "analysis.alpha: Input should be a valid number"),
        ({"policy": "best"}, "analysis.policy: Input should be 'required' or 'sequential', got 'best'"),
    ],
)
def test_a_rule_that_there_is_not_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TorchfinchError, match=message):
        changed(Analysis(), changes)


@pytest.fixture
def replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_spec: MakeSpec) -> Callable[..., Result]:
    """The command, where an equal canary was rolled back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "220")
    spec = make_spec()
    world, store = recorded(spec, canary=0.01, seed=5), FileStore(tmp_path / ".torchfinch/releases/digits")
    store.save(spec, world.load())
    for line in world.history:
        store.append(line)
    return lambda *words: CliRunner().invoke(build(), ["canary", "replay", "digits", *words])


def test_the_command_shows_the_looks_that_differ_and_the_outcome(replay: Callable[..., Result]) -> None:
    rows = replay("--policy", "sequential").stdout.splitlines()
    assert "back      hold" in rows[1]
    assert rows[2].startswith("two was rolled back; replayed, it is not at ")


def test_json_has_the_counts_of_each_look_that_differs(replay: Callable[..., Result]) -> None:
    found = json.loads(replay("--set", "analysis.maxErrorRatio=null", "--json").stdout)
    [look] = found["differing"]
    assert (look["recorded"], look["replayed"]) == ("back", "hold")
    assert look["canary"]["requests"] >= 100


def test_a_name_that_is_not_here_is_told_how_a_cluster_keeps_its_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(build(), ["canary", "replay", "faces"])
    assert isinstance(result.exception, TorchfinchError)
    assert "no release faces here" in result.exception.message
    assert "torchfinch controller --record" in str(result.exception.hint)


def test_a_file_that_is_no_history_is_told(tmp_path: Path) -> None:
    file = tmp_path / "digits.yaml"
    file.write_text("kind: CanaryRelease\n")
    result = CliRunner().invoke(build(), ["canary", "replay", str(file)])
    assert isinstance(result.exception, TorchfinchError)
    assert result.exception.message == f"{file} has no line of a history"


def test_only_fields_of_analysis_can_be_set(replay: Callable[..., Result]) -> None:
    result = replay("--set", "steps=3")
    assert result.exit_code == 2
    assert "steps is no field of analysis" in result.stderr
