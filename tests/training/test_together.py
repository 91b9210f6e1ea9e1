"""Several processes that train together give what one gives."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from training.helpers import Linear, fitted, flat

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent
TESTS = Path(__file__).parents[1]


def torchrun(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [BIN / "torchrun", "--standalone", "--nproc-per-node", "2", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def fitted_together(
    folder: Path,
    settings: dict[str, Any],
    *,
    network: str = "linear",
    dropout: float = 0,
    noise: float = 0,
    stop: int = -1,
    resume: bool = False,
) -> Any:
    """What two processes learnt, which `stop` interrupts before that batch."""
    model = {"network": network, "dropout": dropout}
    asked = {"settings": settings, **model, "noise": noise, "stop": stop, "resume": resume}
    (folder / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    done = torchrun(str(TESTS / "training" / "together.py"), "asked.json", "found.json", folder=folder)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "found.json").read_text(encoding="utf-8")) if stop < 0 else None


@pytest.mark.parametrize("drawn", [{}, {"sampling": "balanced"}, {"sampling": "doubtful", "share": 0.5}])
def test_two_processes_learn_what_one_learns(tmp_path: Path, drawn: dict[str, Any]) -> None:
    settings = {"learning_rate": 0.1, "optimizer": {"name": "momentum", "accumulate": 2}, **drawn}
    torch.manual_seed(0)
    model, history = fitted(Linear(dropout=0), **settings)
    found = fitted_together(tmp_path, settings)

    torch.testing.assert_close(torch.tensor(found["weights"]).double(), flat(model), atol=1e-5, rtol=1e-4)
    for mine, other in zip(history, found["history"], strict=True):
        assert other["train_loss"] == pytest.approx(mine.train_loss, abs=1e-5)
        assert other["validation_loss"] == pytest.approx(mine.validation_loss, abs=1e-5)
        assert other["class_accuracy"] == pytest.approx(mine.class_accuracy)


def test_one_of_two_processes_writes_and_speaks(tmp_path: Path) -> None:
    settings = ("--set", "epochs=2", "--set", "width=8")
    done = torchrun("--no-python", str(BIN / "torchfinch"), "train", "digits", *settings, folder=tmp_path)

    assert (done.returncode, done.stdout) == (0, "model_store/digits.mar\n"), done.stderr
    assert done.stderr.count("epoch   2") == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["digits"]


@pytest.mark.parametrize("ema", [0, 0.9])
def test_the_validation_loss_of_two_processes_is_that_of_the_weights_that_are_kept(tmp_path: Path, ema: float) -> None:
    found = fitted_together(tmp_path, {"learning_rate": 0.1, "keep": "final", "ema": ema}, network="batch norm")

    assert found["history"][-1]["validation_loss"] == pytest.approx(found["validation_loss"], abs=1e-6)


@pytest.mark.parametrize(("network", "ema"), [("linear", 0), ("batch norm", 0), ("batch norm", 0.9)])
def test_two_processes_that_go_on_end_as_if_they_had_not_stopped(tmp_path: Path, network: str, ema: float) -> None:
    settings = {"epochs": 4, "learning_rate": 0.1, "ema": ema}
    chance: dict[str, Any] = {"settings": settings, "network": network, "dropout": 0.5, "noise": 20}
    whole, interrupted = tmp_path / "whole", tmp_path / "interrupted"
    whole.mkdir()
    interrupted.mkdir()
    expected = fitted_together(whole, **chance)
    fitted_together(interrupted, **chance, stop=9)
    found = fitted_together(interrupted, **chance, resume=True)

    assert found["weights"] == expected["weights"]
    for mine, other in zip(found["history"], expected["history"], strict=True):
        assert mine["validation_loss"] == other["validation_loss"]


def test_too_few_images_for_the_processes_are_told(tmp_path: Path) -> None:
    settings = ("--set", "batch_size=1", "--no-pack")
    done = torchrun("--no-python", str(BIN / "torchfinch"), "train", "digits", *settings, folder=tmp_path)

    assert "leave 2 processes without work" in done.stderr
