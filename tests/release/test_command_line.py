"""The words of `torchfinch canary`, on a release that was played in memory and written into a folder."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from torchfinch.cli import build
from torchfinch.errors import TorchfinchError
from torchfinch.release.adapters import Request
from torchfinch.release.history import last_record, read_history
from torchfinch.release.local.store import FileStore
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.simulation.simulated import World
from torchfinch.release.state import Phase

SPEC = Spec.model_validate(
    {
        "model": "digits",
        "canary": {"archive": "two.mar"},
        "route": {"port": 8090},
        "steps": [{"weight": 5}, {"weight": 50}],
    }
)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    """The release `digits`, whose canary was rolled back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "220")
    world, store = World(), FileStore(tmp_path / ".torchfinch" / "releases" / "digits")
    controller = world.controller(SPEC)
    while controller.tick().outcome is None:
        world.serve(1000, error_rate={"two": 0.1})
        world.now += 5
    store.save(SPEC, world.load())
    for record in world.history:
        store.append(record)
    return store


def canary(*words: str) -> Result:
    return CliRunner().invoke(build(), ["canary", *words], catch_exceptions=True)


def error(result: Result) -> TorchfinchError:
    assert isinstance(result.exception, TorchfinchError), result.output
    return result.exception


def test_get_shows_every_release_with_its_numbers() -> None:
    shown = canary("get").stdout
    assert "RolledBack" in shown
    assert "100/1900" in shown
    assert "error rate: 10 % is over the limit of 5 %" in shown


def test_get_prints_the_state_as_json() -> None:
    assert json.loads(canary("get", "digits", "--json").stdout)["digits"]["phase"] == "RolledBack"


def test_history_lists_decisions_with_value_limit_and_sample_sizes() -> None:
    shown = canary("history", "digits").stdout
    assert "a new canary is offered" in shown
    assert "error rate: 10 % is over the limit of 5 % (10 of 100; stable 0 of 1900)" in shown


def test_history_as_json_is_the_history(store: FileStore) -> None:
    lines = canary("history", "digits", "--all", "--json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == read_history(store.history)


@pytest.mark.parametrize("word", ["promote", "abort", "retry", "skip"])
def test_a_word_leaves_an_action_with_an_id_of_its_own(store: FileStore, word: str) -> None:
    result = canary(word, "digits")
    assert "no controller runs, so nothing happens yet" in result.stderr
    first = store.request().action
    canary(word, "digits")
    second = store.request().action
    assert first
    assert second
    assert (first.type, second.type) == (word, word)
    assert first.id != second.id


def test_pause_and_resume_are_kept_until_the_controller_reads_them(store: FileStore) -> None:
    canary("pause", "digits")
    assert store.request() == Request(paused=True)
    canary("resume", "digits")
    request = store.request()
    assert not request.paused
    assert request.action
    assert request.action.type == "resume"


def test_with_a_controller_at_work_there_is_no_warning(store: FileStore) -> None:
    with store.locked():
        assert "no controller" not in canary("pause", "digits").stderr


def test_a_release_that_is_not_there_is_told_with_those_that_are() -> None:
    assert str(error(canary("get", "cats"))).startswith("there is no release cats here (known: digits)")


def test_servers_are_not_stopped_under_a_working_controller(store: FileStore) -> None:
    with store.locked():
        assert "is at work" in str(error(canary("stop", "digits")))


def test_a_manifest_with_a_fault_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("kind: CanaryRelease")
    assert "apiVersion is missing" in str(error(canary("run", "x.yaml")))


def test_a_half_line_that_a_kill_left_spoils_nothing(store: FileStore) -> None:
    whole = read_history(store.history)
    with store.history.open("ab") as stream:
        stream.write(b'{"time": 12')
    assert last_record(store.history) == whole[-1]
    store.append({"phase": "Idle"})
    assert read_history(store.history) == [*whole, {"phase": "Idle"}]


def test_a_state_that_cannot_be_read_says_what_to_do(store: FileStore) -> None:
    (store.folder / "state.json").write_text("{}x")
    with pytest.raises(TorchfinchError, match="put back a copy that is whole"):
        store.load()


def test_the_state_is_read_as_it_was_written(store: FileStore) -> None:
    state = store.load()
    assert state.phase is Phase.ROLLED_BACK
    store.save(SPEC, state)
    assert store.load() == state
