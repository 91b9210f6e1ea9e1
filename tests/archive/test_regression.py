"""An archive of a regressor proves itself as one of a classifier does."""

from pathlib import Path

import pytest

from torchfinch.archive import Golden, difference, pack_run, read_archive, verify
from torchfinch.training import load_recipe, train


def test_numbers_may_differ_by_a_small_share() -> None:
    golden = Golden("0.png", b"", {"values": {"angle": -30.0}})

    assert difference(golden, {"values": {"angle": -30.002}}) is None
    assert difference(golden, {"values": {"angle": -30.004}}) == "0.png: values.angle is -30.004, expected -30.0"
    assert difference(golden, {"values": {}}) == "0.png: values.angle is None, expected -30.0"
    assert difference(golden, {"predicted_class": 1}) == "0.png: values is None, expected {'angle': -30.0}"


@pytest.mark.slow
def test_a_regressor_is_trained_packed_and_verified(tmp_path: Path) -> None:
    recipe = load_recipe("angles")
    run = train(recipe, recipe.configure({"epochs": 1, "width": 4}), runs=tmp_path)
    result = verify(pack_run(run.folder, name="angles", version="1.0", output=tmp_path / "angles.mar"))

    assert result.ok, result
    info = read_archive(tmp_path / "angles.mar")
    assert (info.manifest["model"]["handler"], info.handler["task"]) == ("regressor.py", "regression")
    assert set(info.golden[0].expected["values"]) == {"angle"}
