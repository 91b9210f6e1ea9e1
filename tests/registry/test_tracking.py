"""Trainings in a real MLflow: finished, of earlier, and stopped; and what is told where MLflow cannot be used."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from colours import NETWORK, write_colour_run
from registry.test_runs import EPOCH, write_checkpoint, write_run
from typer.testing import CliRunner, Result
from waiting import within

from torchfinch.archive import pack_run
from torchfinch.cli import build
from torchfinch.errors import TorchfinchError
from torchfinch.handler import safetensors
from torchfinch.registry import open_registry, tracking
from torchfinch.training import Epoch

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::Warning:mlflow", "ignore::Warning:sqlalchemy", "ignore::Warning:torch"),
]


def torchfinch(*words: object) -> Result:
    return CliRunner().invoke(build(), [str(word) for word in words])


def client(uri: str) -> "MlflowClient":
    import mlflow

    return mlflow.MlflowClient(uri)


def newest(uri: str, experiment: str) -> "Run":
    asked = client(uri)
    found = asked.get_experiment_by_name(experiment)
    assert found
    return asked.search_runs([found.experiment_id], order_by=["start_time DESC"])[0]


def nothing(folder: Path) -> None:
    pass


def ended(number: int) -> Epoch:
    return Epoch(
        epoch=number,
        train_loss=0.5,
        validation_loss=0.75,
        train_accuracy=None,
        validation_accuracy=None,
        class_accuracy=(),
        learning_rate=0.1,
        seconds=2.0,
        data_seconds=0.0,
        images_per_second=1.0,
    )


def fall(told: Callable[[Epoch], object], stop: BaseException, *, epoch: int) -> None:
    """End an epoch, and then all."""
    told(ended(epoch))
    raise stop


def test_a_training_is_kept_with_all_that_is_known_of_it(database: str, here: Path) -> None:
    result = torchfinch(
        "train", "digits", "--set", "epochs=2", "--set", "width=4", "--no-pack", "--track", "--registry", database
    )
    assert result.stdout == "runs/digits\n", (result.output, result.exception)
    run = newest(database, "digits")
    described = json.loads((here / "runs" / "digits" / "model.json").read_text())

    assert run.info.status == "FINISHED"
    assert (run.data.params["epochs"], run.data.params["optimizer.name"]) == ("2", "adamw")
    assert run.data.params["network.width"] == "4"
    assert run.data.tags["data_digest"] == described["lineage"]["data_digest"]
    losses = client(database).get_metric_history(run.info.run_id, "validation_loss")
    history = [json.loads(line) for line in (here / "runs" / "digits" / "history.jsonl").read_text().splitlines()]
    assert [(loss.step, loss.value) for loss in losses] == [
        (each["epoch"], each["validation_loss"]) for each in history
    ]
    assert run.data.metrics["test_accuracy"] == described["lineage"]["metrics"]["test_accuracy"]
    kept = {each.path for each in client(database).list_artifacts(run.info.run_id)}
    assert kept == {"report.html", "environment.json", "model.json", "history.jsonl", "evaluation.json"}


def test_the_logged_network_is_a_graph_that_answers_as_the_run_folders(database: str, colour_run: Path) -> None:
    import mlflow.pytorch

    with tracking(database, colour_run, recipe="graphs", fill=nothing):
        pass
    outputs = newest(database, "graphs").outputs
    assert outputs
    network = mlflow.pytorch.load_model(f"models:/{outputs.model_outputs[0].model_id}")

    assert isinstance(network, torch.fx.GraphModule)
    assert network(torch.ones(3, 3, 16, 16)).tolist() == [[2.0] * 3] * 3


def test_a_network_that_cannot_be_exported_is_left_out_and_told(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_colour_run(tmp_path / "a")
    branch = "        if x.mean() > 0:\n            x = x + 1\n        return"
    (folder / "model.py").write_text(NETWORK.replace("        return", branch))
    with tracking(database, folder, recipe="branches", fill=nothing):
        pass

    assert newest(database, "branches").info.status == "FINISHED"
    assert "tracked without the network, which torch.export refuses: Could not guard" in capsys.readouterr().err


def test_a_run_of_earlier_is_kept_by_its_folder(database: str, tmp_path: Path) -> None:
    write_run(tmp_path / "a", seed=3)
    result = torchfinch("runs", "track", "a", "--registry", database)

    assert result.exit_code == 0, result.exception
    run = newest(database, "colours")
    assert (run.info.status, run.data.params["seed"]) == ("FINISHED", "3")
    assert run.data.tags["mlflow.source.git.commit"] == "c" * 40 + "-dirty"
    assert {each.path for each in client(database).list_artifacts(run.info.run_id)} >= {"report.html", "model.json"}


def test_a_registered_version_and_the_training_that_left_its_weights_name_each_other(
    database: str, tmp_path: Path
) -> None:
    write_run(tmp_path / "a")
    weights = {"conv.weight": torch.ones(3, 3, 1, 1), "conv.bias": torch.zeros(3)}
    safetensors.save(weights, tmp_path / "a" / "weights.safetensors")
    pack_run(tmp_path / "a", name="linked", version="1.0", output=tmp_path / "linked.mar")
    pack_run(tmp_path / "a", name="linked", version="2.0", output=tmp_path / "again.mar")
    words = ("--registry", database)

    assert torchfinch("push", "linked.mar", *words).stderr == "linked 1, of no tracked run\n"
    assert torchfinch("runs", "track", "a", *words).exit_code == 0
    run = newest(database, "colours")
    with tracking(database, write_run(tmp_path / "b"), recipe="colours", fill=nothing):
        pass  # a later training, which left other weights
    pushed = torchfinch("push", "again.mar", "--alias", "champion", *words)
    assert (pushed.stdout, pushed.stderr) == ("2\n", f"linked 2 (champion), of the run {run.info.run_name}\n")
    assert client(database).get_model_version("linked", "2").run_id == run.info.run_id
    assert f"of the run {run.info.run_name}" in torchfinch("pull", "models:/linked@champion", *words).stderr
    versions = json.loads(torchfinch("runs", "show", "a", "--json", *words).stdout)["versions"]
    assert {"model": "linked", "number": "2", "aliases": ["champion"], "run": run.info.run_name} in versions
    assert f"linked 2 (champion), of the run {run.info.run_name}" in torchfinch("runs", "show", "a", *words).stdout


@pytest.mark.parametrize(("stop", "status"), [(KeyboardInterrupt(), "KILLED"), (TorchfinchError("no"), "FAILED")])
def test_a_training_that_stops_is_kept_with_its_finished_epochs(
    database: str, tmp_path: Path, stop: BaseException, status: str
) -> None:
    write_checkpoint(tmp_path / "stopped.checkpoints")
    with pytest.raises(type(stop)), tracking(database, tmp_path / "stopped", recipe="stopped", fill=nothing) as told:
        fall(told, stop, epoch=2)

    run = newest(database, "stopped")
    assert (run.info.status, run.data.params["epochs"]) == (status, "10")
    losses = client(database).get_metric_history(run.info.run_id, "validation_loss")
    assert {loss.step: loss.value for loss in losses} == {1: EPOCH["validation_loss"], 2: 0.75}


def test_a_training_that_fails_in_its_first_epoch_is_kept_with_its_own_settings_and_no_epoch_of_another(
    database: str, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "runs" / "digits.checkpoints")
    result = torchfinch("train", "digits", "--set", "device=cuda:99", "--track", "--registry", database)

    assert isinstance(result.exception, TorchfinchError)
    run = newest(database, "digits")
    assert (run.info.status, run.data.params["epochs"], run.data.params["device"]) == ("FAILED", "30", "cuda:99")
    assert not run.data.metrics


def test_a_training_that_stops_beside_checkpoints_that_cannot_be_read_has_ended(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    next(write_checkpoint(tmp_path / "torn.checkpoints").glob("*.pt")).write_bytes(b"torn")
    with pytest.raises(KeyboardInterrupt), tracking(database, tmp_path / "torn", recipe="torn", fill=nothing) as told:
        fall(told, KeyboardInterrupt(), epoch=1)

    assert newest(database, "torn").info.status == "KILLED"
    assert "not tracked: " in capsys.readouterr().err


def test_a_training_that_gets_sigterm_is_kept_as_killed_with_its_checkpoint(database: str, tmp_path: Path) -> None:
    command = [
        *(str(Path(sys.executable).parent / "torchfinch"), "train", "digits", "--track", "--registry", database),
        *("--set", "epochs=1000", "--set", "width=4"),
    ]
    training = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    second = tmp_path / "runs" / "digits.checkpoints" / "epoch-00002.pt"  # what the first one showed is tracked then
    assert within(120, second.exists)
    training.terminate()
    _, said = training.communicate(timeout=60)

    assert training.returncode == 130, said
    assert "is kept; the same command with --resume goes on from there" in said
    run = newest(database, "digits")
    assert (run.info.status, run.data.params.get("epochs")) == ("KILLED", "1000"), said
    assert run.data.metrics["validation_loss"] > 0


def test_settings_are_kept_at_the_beginning_and_an_epoch_when_it_ends_and_once(database: str, tmp_path: Path) -> None:
    settings = {"epochs": 2, "optimizer": {"name": "sgd"}}
    with tracking(database, tmp_path / "a", recipe="live", fill=nothing, settings=settings) as told:
        assert newest(database, "live").data.params == {"epochs": "2", "optimizer.name": "sgd"}
        told(ended(1))
        run = newest(database, "live")
        assert (run.info.status, run.data.metrics["validation_loss"]) == ("RUNNING", 0.75)
        write_run(tmp_path / "a")

    losses = client(database).get_metric_history(run.info.run_id, "validation_loss")
    assert [loss.step for loss in losses] == [1, 2]


def test_with_tracking_off_nothing_is_written(tmp_path: Path) -> None:
    with tracking(None, tmp_path / "a", recipe="a", fill=nothing):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://somebody:secret@127.0.0.1:9", r"^http://\*\*\*@127.0.0.1:9 does not answer"),
        ("nowhere://u:pa/ss@x", r"^nowhere://\*\*\*@x: (?!.*pa/ss)"),
        ("mlruns", "^mlruns: The filesystem tracking backend"),
        ("nowhere://x", "^nowhere://x: .*unsupported URI"),
        ("sqlite:////proc/x/mlflow.db", "^sqlite:////proc/x/mlflow.db: .*No such file"),
        ("postgresql://x/y", "^postgresql://x/y: No module named"),
    ],
)
def test_an_address_that_cannot_be_used_is_told_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, said: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TorchfinchError, match=said), tracking(uri, tmp_path / "a", recipe="a", fill=nothing):
        pytest.fail("the training has begun")


def test_a_database_that_breaks_meanwhile_is_told_and_the_run_folder_is_unharmed(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/own.db"

    def train() -> None:
        with tracking(uri, tmp_path / "a", recipe="a", fill=nothing):
            write_run(tmp_path / "a")
            with sqlite3.connect(tmp_path / "own.db") as broken:
                broken.execute("DROP TABLE params")
            broken.close()

    with pytest.raises(TorchfinchError, match=r"no such table: params \(hint: torchfinch runs track .*/a tries again"):
        train()
    assert (tmp_path / "a" / "model.json").exists()


def test_a_database_that_another_program_has_locked_is_told(database: str, colour_archive: Path) -> None:
    registry = open_registry(f"{database}?timeout=0")
    with closing(sqlite3.connect(database.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TorchfinchError, match=r"is locked by another program \(hint: wait until it has ended"):
            registry.register(colour_archive)


def test_an_unknown_alias_and_a_missing_model_are_told(database: str, colour_archive: Path, tmp_path: Path) -> None:
    registry = open_registry(database)
    registry.register(colour_archive)
    for reference in ("models:/colours@nobody", "models:/nothing@champion", "models:/colours/77"):
        with pytest.raises(TorchfinchError, match="not found"):
            registry.fetch(reference, tmp_path)
