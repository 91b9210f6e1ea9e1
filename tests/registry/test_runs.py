"""`torchfinch runs`: run folders, and trainings that are not finished, read, listed and compared."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from colours import write_colour_run
from typer.testing import CliRunner, Result

from torchfinch.cli import build
from torchfinch.errors import TorchfinchError
from torchfinch.registry import differences, find_folders, read_record
from torchfinch.training import Checkpoints

EPOCH = {"epoch": 1, "train_loss": 0.5, "validation_loss": 0.75, "class_accuracy": [1.0, None], "seconds": 2.0}


def runs(*words: object) -> Result:
    return CliRunner().invoke(build(), ["runs", *map(str, words)])


def answer(*words: object) -> Any:
    result = runs(*words, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def write_run(folder: Path, *, data: str = "a" * 64, accuracy: float = 0.5, **settings: Any) -> Path:
    """A run of a recipe that was fitted, as `torchfinch train` leaves it."""
    write_colour_run(folder)
    described = json.loads((folder / "model.json").read_text())
    lineage = {"recipe": "colours", "config": {"epochs": 2, "optimizer": {"name": "sgd"}, **settings}}
    described["lineage"] = {**lineage, "data_digest": data, "git_revision": "c" * 40 + "-dirty", "torch": "2"}
    (folder / "model.json").write_text(json.dumps(described))
    (folder / "history.jsonl").write_text(json.dumps(EPOCH) + "\n" + json.dumps({**EPOCH, "epoch": 2}) + "\n")
    (folder / "evaluation.json").write_text(json.dumps({"samples": 3, "accuracy": accuracy, "confusion_matrix": []}))
    return folder


def write_checkpoint(folder: Path) -> Path:
    """What a training of ten epochs has left after one."""
    identity = {"recipe": "colours", "config": {"epochs": 10}, "data_digest": "a" * 64}
    Checkpoints(folder, identity=identity).save({"history": [EPOCH]}, epoch=1)
    return folder


def test_a_run_folder_says_where_the_training_came_from_and_where_it_led(tmp_path: Path) -> None:
    record = read_record(write_run(tmp_path / "a", seed=3))

    assert record.finished
    assert record.settings == {"epochs": 2, "optimizer.name": "sgd", "seed": 3}
    assert record.network == {"network.class": "ColourNet", "network.sharpness": 2.0}
    assert record.origin == {"data_digest": "a" * 64, "git_revision": "c" * 40 + "-dirty", "torch": "2"}
    assert [epoch["epoch"] for epoch in record.epochs] == [1, 2]
    assert record.scores == {"test_accuracy": 0.5}


def test_what_was_never_fitted_or_evaluated_has_no_epochs_and_the_scores_of_its_lineage(colour_run: Path) -> None:
    record = read_record(colour_run)

    assert (record.epochs, record.scores, record.settings) == ([], {"test_accuracy": 1.0}, {})


def test_a_training_that_is_not_finished_is_read_from_its_checkpoints(tmp_path: Path) -> None:
    record = read_record(write_checkpoint(tmp_path / "colours.checkpoints"))

    assert not record.finished
    assert (record.recipe, record.settings) == ("colours", {"epochs": 10})
    assert record.epochs == [EPOCH]


@pytest.mark.parametrize("content", ["", "[]", '{"network": 3}'])
def test_what_is_no_run_folder_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.json").write_text(content)
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(TorchfinchError, match="is no run folder"):
            read_record(folder)


def test_folders_are_found_at_any_depth_and_hidden_ones_are_passed_over(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    for name in ("b", "2.0/a", ".b.xyz/new"):
        write_colour_run(root / name)
    write_checkpoint(root / "c.checkpoints")
    (root / "empty.checkpoints").mkdir()

    assert find_folders(root) == [root / "2.0" / "a", root / "b", root / "c.checkpoints"]


@pytest.mark.parametrize("root", [Path("../runs"), Path(".hidden/runs")])
def test_dots_in_the_name_of_the_root_hide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_colour_run(root / "a")

    assert find_folders(root) == [root / "a"]


@pytest.mark.parametrize("left", [0, 1, 1000])
def test_half_a_checkpoint_is_told(tmp_path: Path, left: int) -> None:
    path = next(write_checkpoint(tmp_path / "torn.checkpoints").glob("*.pt"))
    path.write_bytes(path.read_bytes()[:left])

    with pytest.raises(TorchfinchError, match=r"torn\.checkpoints/epoch-00001\.pt is torn or foreign: .*Error"):
        read_record(path.parent)


@pytest.mark.parametrize("content", [b"torn", b"J\x01", b"]a."])
def test_where_the_newest_checkpoint_is_torn_the_one_before_is_read(tmp_path: Path, content: bytes) -> None:
    folder = write_checkpoint(tmp_path / "torn.checkpoints")
    (folder / "epoch-00002.pt").write_bytes(content)

    assert read_record(folder).epochs == [EPOCH]


def test_differences_have_both_values_and_the_change_of_numbers() -> None:
    found = differences({"same": 1, "lr": 0.5, "only": "x"}, {"same": 1, "lr": 0.75, "new": None})

    assert set(found) == {"lr", "only"}
    assert (found["lr"].change, found["only"].change) == (0.25, None)
    assert (found["only"].first, found["only"].second) == ("x", None)


def test_the_list_has_a_line_for_each_and_names_what_cannot_be_read(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a")
    write_checkpoint(tmp_path / "runs" / "b.checkpoints")
    (tmp_path / "runs" / "torn").mkdir()
    (tmp_path / "runs" / "torn" / "model.json").write_text("{")
    result = runs("list")

    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[1] == ["runs/a", "colours", "2", "4", "s", "accuracy", "0.5000", "a" * 12, "c" * 12 + "-dirty"]
    assert lines[2] == ["runs/b.checkpoints", "colours", "1", "of", "10,", "not", "finished", "2", "s", "a" * 12]
    assert result.exit_code == 1
    assert "left out: runs/torn is no run folder: a file in it is no JSON (line 1)\n" in result.stderr
    shutil.rmtree(tmp_path / "runs" / "torn")
    assert [record["folder"] for record in answer("list")] == ["runs/a", "runs/b.checkpoints"]


def test_no_runs_is_said_and_no_error() -> None:
    result = runs("list")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "there are no runs in runs" in result.stderr


def test_one_run_is_shown_with_scores_epochs_and_settings(tmp_path: Path) -> None:
    write_run(tmp_path / "a", seed=3)
    shown = runs("show", "a").stdout

    for line in ("test_accuracy 0.5", "epoch train_loss validation_loss seconds", "2 0.5 0.75 2", "seed 3"):
        assert line in [" ".join(each.split()) for each in shown.splitlines()]
    assert answer("show", "a")["settings"]["optimizer.name"] == "sgd"


def test_two_runs_are_compared_in_what_they_differ(tmp_path: Path) -> None:
    write_run(tmp_path / "a", seed=3)
    write_run(tmp_path / "b", seed=4, accuracy=0.75, data="b" * 64)
    result = runs("diff", "a", "b")

    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[1:] == [
        ["seed", "3", "4", "+1"],
        ["data_digest", "a" * 64, "b" * 64],
        ["test_accuracy", "0.5", "0.75", "+0.25"],
    ]
    assert "their images differ" in result.stderr
    assert answer("diff", "a", "b")["scores"] == {"test_accuracy": {"first": 0.5, "second": 0.75, "change": 0.25}}
    assert "they have the same settings" in runs("diff", "a", "a").stderr


def test_a_training_that_is_not_finished_is_not_tracked_as_one(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "c.checkpoints")
    error = runs("track", "c.checkpoints").exception

    assert isinstance(error, TorchfinchError)
    assert "is of a training that is not finished" in error.message


def test_every_command_with_a_registry_is_told_it_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "a")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense")
    error = runs("show", "a").exception

    assert "--registry takes a database" in str(error)
    for words in (["canary", "run"], ["controller"], ["push"], ["pull"], ["train"], ["runs", "track"]):
        shown = CliRunner().invoke(build(), [*words, "--help"], env={"COLUMNS": "200"}).stdout
        assert "MLFLOW_TRACKING_URI" in shown, words
