"""Checkpoints: a training that is interrupted and goes on ends as if it had not been; broken files are told."""

import fcntl
import itertools
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training.helpers import DATA, Small, fitted, flat

from torchfinch.errors import TorchfinchError
from torchfinch.training import Checkpoints, Data, save_whole_model
from torchfinch.training.checkpoint import alone

EVERYTHING: dict[str, Any] = {
    "epochs": 4,
    "learning_rate": 0.05,
    "ema": 0.9,
    "augmentation": {"mixup": 0.4},
    "optimizer": {"name": "momentum", "accumulate": 2, "clip_norm": 1},
    "schedule": {"name": "cosine"},
}


def small() -> Small:
    """The same first weights every time."""
    torch.manual_seed(0)
    return Small()


def interrupted(batches: int) -> Data:
    """Data whose augmentation is interrupted after so many batches."""
    left = iter(range(batches))

    def stop(pixels: Tensor, _chance: torch.Generator) -> Tensor:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return pixels

    return Data(labels=DATA.labels, train=DATA.train, validation=DATA.validation, augment=stop)


def stopped(checkpoints: Checkpoints, *, batches: int = 10, **values: Any) -> None:
    """A training of four batches an epoch, interrupted after so many batches."""
    with pytest.raises(KeyboardInterrupt):
        fitted(small(), interrupted(batches), checkpoints=checkpoints, **{**EVERYTHING, **values})


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "digits.checkpoints", identity={"recipe": "digits", "config": {"epochs": 4}})


@pytest.fixture
def no_room() -> Iterator[None]:
    """No file can grow beyond 32 MiB, which leaves room for the log of the tests themselves."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32 * 2**20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"ema": 0, "keep": "final", "amp": "fp16", "schedule": {"name": "one_cycle"}},
        {"optimizer": {"name": "adamw"}, "schedule": {"name": "step"}, "patience": 3, "sampling": "balanced"},
        {"sampling": "doubtful", "share": 0.5, "batch_size": 8, "augmentation": {}},
    ],
    ids=["momentum", "fp16", "adamw", "doubtful"],
)
def test_four_epochs_are_two_and_a_resume_bit_for_bit(checkpoints: Checkpoints, values: dict[str, Any]) -> None:
    whole, expected = fitted(small(), **{**EVERYTHING, **values})
    stopped(checkpoints, **values)
    resumed, history = fitted(small(), checkpoints=checkpoints, resume=True, **{**EVERYTHING, **values})

    assert torch.equal(flat(whole), flat(resumed))
    assert [epoch.train_loss for epoch in history] == [epoch.train_loss for epoch in expected]
    assert [epoch.validation_loss for epoch in history] == [epoch.validation_loss for epoch in expected]


def test_also_chance_of_numpy_and_python_is_the_same_after_a_resume(checkpoints: Checkpoints) -> None:
    def noisy(stop: int | None) -> Data:
        left = itertools.count()

        def change(pixels: Tensor, _chance: torch.Generator) -> Tensor:
            if next(left) == stop:
                raise KeyboardInterrupt
            return pixels + random.randint(0, 40) + torch.from_numpy(np.random.normal(0, 20, pixels.shape)).float()

        return Data(labels=DATA.labels, train=DATA.train, validation=DATA.validation, augment=change)

    whole, _ = fitted(small(), noisy(None), **EVERYTHING)
    random.random(), np.random.rand()  # whatever else draws
    with pytest.raises(KeyboardInterrupt):
        fitted(small(), noisy(10), checkpoints=checkpoints, **EVERYTHING)
    resumed, _ = fitted(small(), noisy(None), checkpoints=checkpoints, resume=True, **EVERYTHING)

    assert torch.equal(flat(whole), flat(resumed))


def test_a_torn_checkpoint_is_told_and_the_one_before_it_is_used(
    checkpoints: Checkpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, _ = fitted(small(), **EVERYTHING)
    stopped(checkpoints)
    path = checkpoints.folder / "epoch-00002.pt"
    path.write_bytes(path.read_bytes()[:-1000])
    resumed, history = fitted(small(), checkpoints=checkpoints, resume=True, **EVERYTHING)

    assert "epoch-00002.pt is torn or foreign: " in capsys.readouterr().err
    assert len(history) == 4
    assert torch.equal(flat(whole), flat(resumed))


def test_only_the_last_two_epochs_are_kept(checkpoints: Checkpoints) -> None:
    fitted(small(), checkpoints=checkpoints, **EVERYTHING)

    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["epoch-00003.pt", "epoch-00004.pt"]


def test_a_checkpoint_holds_nothing_that_runs_code(checkpoints: Checkpoints) -> None:
    stopped(checkpoints)
    state = torch.load(checkpoints.folder / "epoch-00002.pt", weights_only=True)["state"]

    assert {"model", "optimizer", "scaler", "average", "chance", "history", "doubt", "best", "kept"} == set(state)


def test_a_checkpoint_of_another_training_is_refused_with_the_difference(checkpoints: Checkpoints) -> None:
    stopped(checkpoints)
    other = Checkpoints(checkpoints.folder, identity={"recipe": "digits", "config": {"epochs": 4, "batch_size": 5}})

    with pytest.raises(
        TorchfinchError, match=r"is of another training: config\.batch_size was None and is 5 .*--resume"
    ):
        other.load()


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "step", "constant"])
@pytest.mark.parametrize("changed", [{"learning_rate": 0.005}, {"epochs": 6}], ids=["learning rate", "epochs"])
def test_a_training_goes_on_with_another_learning_rate_or_more_epochs(
    checkpoints: Checkpoints, schedule: str, changed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    values: dict[str, Any] = {**EVERYTHING, "schedule": {"name": schedule, "every": 1}}
    settings = {"learning_rate": 0.05, "epochs": 4}
    new = {**settings, **changed}
    _, expected = fitted(small(), **{**values, **new})
    _, before = fitted(small(), **{**values, **settings})
    stopped(Checkpoints(checkpoints.folder, identity={"config": settings}), **values)
    capsys.readouterr()
    other = Checkpoints(checkpoints.folder, identity={"config": new})
    _, history = fitted(small(), checkpoints=other, resume=True, **{**values, **new})

    rates = [epoch.learning_rate for epoch in (*before[:2], *expected[2:])]
    assert [epoch.learning_rate for epoch in history] == rates
    [(name, value)] = changed.items()
    assert f"epoch-00002.pt: config.{name} was {settings[name]} and is {value}\n" in capsys.readouterr().err


def test_epochs_that_are_done_are_not_undone_and_nothing_else_is_said(
    checkpoints: Checkpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped(checkpoints)
    checkpoints = Checkpoints(checkpoints.folder, identity={**checkpoints.identity, "config": {"epochs": 1}})
    capsys.readouterr()
    with pytest.raises(TorchfinchError, match=r"2 epochs are done already, and epochs=1 .*--set epochs=2, or more"):
        fitted(small(), checkpoints=checkpoints, resume=True, **{**EVERYTHING, "epochs": 1})
    assert not checkpoints.used
    assert "going on" not in capsys.readouterr().err


OURS = "torchfinch checkpoint 2"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"model_state_dict": {}}, "it is no checkpoint of torchfinch"),
        ([1, 2], "it is no checkpoint of torchfinch"),
        ({"format": torch.zeros(2)}, "it is no checkpoint of torchfinch"),
        ({"format": OURS}, "it has no identity"),
        ({"format": OURS, "identity": {}, "state": [1]}, "it has no state"),
        *(
            (content, "it cannot be read (")
            for content in (b"", b"text", b"J\x01", b"c__builtin__\nset\n.", b"0", b"]a.")
        ),
    ],
)
def test_of_a_foreign_checkpoint_too_the_one_before_it_is_used(
    checkpoints: Checkpoints, content: object, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints.save({"history": ["one"]}, epoch=1)
    foreign = checkpoints.folder / "epoch-00002.pt"
    foreign.write_bytes(content) if isinstance(content, bytes) else torch.save(content, foreign)

    assert checkpoints.load() == {"history": ["one"]}
    assert f"epoch-00002.pt is torn or foreign: {why}" in capsys.readouterr().err


def test_a_torn_checkpoint_is_told_by_the_first_process_alone(
    checkpoints: Checkpoints, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save({"history": ["one"]}, epoch=1)
    (checkpoints.folder / "epoch-00002.pt").write_bytes(b"torn")
    monkeypatch.setenv("RANK", "1")

    assert checkpoints.load() == {"history": ["one"]}
    assert capsys.readouterr().err == ""


def stop_after(checkpoints: Checkpoints, event: Callable[[], object]) -> None:
    """A training that has ended one epoch is interrupted after `event`."""
    with checkpoints.told():
        checkpoints.save({}, epoch=1)
        event()
        raise KeyboardInterrupt


def test_a_training_that_fails_names_the_newest_checkpoint_that_can_be_read(
    checkpoints: Checkpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        stop_after(checkpoints, lambda: (checkpoints.folder / "epoch-00009.pt").write_bytes(b"torn"))

    assert capsys.readouterr().err.startswith(f"{checkpoints.folder}/epoch-00001.pt is kept; ")


def test_a_training_that_fails_says_so_when_its_checkpoints_were_removed(
    checkpoints: Checkpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        stop_after(checkpoints, lambda: shutil.rmtree(checkpoints.folder))

    said = "nothing of this training is kept: {} has no checkpoint that can be read\n"
    assert capsys.readouterr().err == said.format(checkpoints.folder)


def test_the_first_epoch_of_a_new_training_ends_what_was_there_and_no_earlier(checkpoints: Checkpoints) -> None:
    checkpoints.save({}, epoch=8)
    checkpoints.save({}, epoch=9)
    new = Checkpoints(checkpoints.folder, identity={"recipe": "digits", "config": {"epochs": 5}})
    with alone(new.folder):
        assert len(list(new.folder.iterdir())) == 2
        new.save({}, epoch=1)

    assert [path.name for path in new.folder.iterdir()] == ["epoch-00001.pt"]


def test_two_trainings_do_not_share_a_folder(checkpoints: Checkpoints) -> None:
    with (
        alone(checkpoints.folder),
        pytest.raises(TorchfinchError, match=r"another training keeps its checkpoints in .*--runs"),
        alone(checkpoints.folder),
    ):
        pass

    assert not checkpoints.folder.exists()


def test_a_training_that_is_refused_leaves_the_folder_of_the_running_one(checkpoints: Checkpoints) -> None:
    with alone(checkpoints.folder):
        for _ in range(2):
            with (
                pytest.raises(TorchfinchError, match="another training keeps its checkpoints"),
                alone(checkpoints.folder),
            ):
                pass
        checkpoints.save({}, epoch=1)

    assert [path.name for path in checkpoints.folder.iterdir()] == ["epoch-00001.pt"]


def test_a_folder_that_was_removed_before_it_was_locked_is_made_again(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock

    def late(opened: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        checkpoints.folder.rmdir()
        lock(opened, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with (
        alone(checkpoints.folder),
        pytest.raises(TorchfinchError, match="another training keeps its checkpoints"),
        alone(checkpoints.folder),
    ):
        pass


def test_a_pickle_that_would_run_code_is_left_aside(checkpoints: Checkpoints) -> None:
    checkpoints.folder.mkdir()
    torch.save(nn.Linear(1, 1), checkpoints.folder / "epoch-00001.pt")

    with pytest.raises(TorchfinchError, match="there is no checkpoint to go on from"):
        checkpoints.load()


def test_a_loss_that_is_no_number_leaves_the_last_good_epoch(checkpoints: Checkpoints) -> None:
    stopped(checkpoints)

    def spoil(pixels: Tensor, _chance: torch.Generator) -> Tensor:
        return pixels * float("nan")

    data = Data(labels=DATA.labels, train=DATA.train, validation=DATA.validation, augment=spoil)
    with pytest.raises(TorchfinchError, match=r"the loss became nan in epoch 3, batch 1 of 4 \(images \d+, "):
        fitted(small(), data, checkpoints=checkpoints, resume=True, **EVERYTHING)

    assert len(checkpoints.load()["history"]) == 2


@pytest.mark.usefixtures("no_room")
def test_a_full_disk_leaves_the_checkpoints_before_it_and_no_half_of_one(checkpoints: Checkpoints) -> None:
    checkpoints.save({"history": []}, epoch=1)

    with pytest.raises(OSError, match="too large"):
        checkpoints.save({"weights": torch.zeros(10_000_000)}, epoch=2)
    assert [path.name for path in checkpoints.folder.iterdir()] == ["epoch-00001.pt"]


@pytest.mark.usefixtures("no_room")
def test_a_full_disk_leaves_also_the_checkpoints_of_another_training(checkpoints: Checkpoints) -> None:
    checkpoints.save({}, epoch=7)
    checkpoints.save({}, epoch=8)
    new = Checkpoints(checkpoints.folder, identity={})

    with pytest.raises(OSError, match="too large"):
        new.save({"weights": torch.zeros(10_000_000)}, epoch=1)
    assert {path.name for path in checkpoints.folder.iterdir()} == {"epoch-00007.pt", "epoch-00008.pt"}


def test_a_whole_model_is_saved_with_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="a pickled model runs code when it is loaded"):
        save_whole_model(nn.Linear(1, 1), tmp_path / "model.pth")

    assert isinstance(torch.load(tmp_path / "model.pth", weights_only=False), nn.Linear)


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_resume_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    command = [
        *(str(Path(sys.executable).parent / "torchfinch"), "train", "digits", "--no-pack"),
        *("--set", "epochs=4", "--set", "width=8"),
    ]
    whole = subprocess.run([*command, "--runs", "whole"], cwd=tmp_path, capture_output=True, text=True, check=True)
    first = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    saved, end = tmp_path / "runs" / "digits.checkpoints" / "epoch-00002.pt", time.monotonic() + 120
    while not saved.exists() and first.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 130, said
    assert "is kept; the same command with --resume goes on from there" in said
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["digits.checkpoints"]

    subprocess.run([*command, "--resume"], cwd=tmp_path, capture_output=True, text=True, check=True)
    weights = "digits/weights.safetensors"
    assert whole.stdout == "whole/digits\n"
    assert (tmp_path / "runs" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["digits"]
