"""The examples in Python of the guide to training run as they stand there."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from torchfinch.handler import safetensors

GUIDE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
FIT, LOAD = re.findall(r"^```python\n(.*?)^```", GUIDE, flags=re.DOTALL | re.MULTILINE)


def test_a_network_of_ones_own_is_fitted(capsys: pytest.CaptureFixture[str]) -> None:
    exec(FIT, {})

    assert re.fullmatch(r"\d+%\n", capsys.readouterr().out)


def test_weights_are_loaded_without_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(LOAD.replace('"epochs": 2', '"epochs": 1, "width": 4'), found)

    weights = safetensors.load(tmp_path / "runs" / "digits" / "weights.safetensors")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in found["network"].state_dict().items())
