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


@pytest.mark.parametrize("drawn", [{}, {"sampling": "balanced"}, {"sampling": "doubtful", "share": 0.5}])
def test_two_processes_learn_what_one_learns(tmp_path: Path, drawn: dict[str, Any]) -> None:
    settings = {"learning_rate": 0.1, "optimizer": {"name": "momentum", "accumulate": 2}, **drawn}
    torch.manual_seed(0)
    model, history = fitted(Linear(dropout=0), **settings)
    (tmp_path / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    done = torchrun(str(TESTS / "training" / "together.py"), "settings.json", "found.json", folder=tmp_path)

    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
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
