"""A recipe's code: its file, what it imports relatively, and nothing else; a change begins the folds afresh."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from torchfinch.cli import build
from torchfinch.evaluation import code_digest
from torchfinch.project import carried


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe that imports three neighbours, one of them through another; and a file that nobody imports."""
    package = tmp_path / "recipes"
    (package / "networks").mkdir(parents=True)
    (package / "mine.py").write_text("import torch\nfrom .networks.net import Net\nfrom . import helper\n")
    (package / "networks" / "net.py").write_text("from ..deep import x\n")
    (package / "helper.py").write_text("")
    (package / "deep.py").write_text("x = 1\n")
    (package / "other.py").write_text("")
    return package / "mine.py"


@pytest.mark.parametrize("changed", ["mine.py", "networks/net.py", "helper.py", "deep.py"])
def test_a_change_of_a_file_that_is_imported_changes_the_digest(recipe: Path, changed: str) -> None:
    before = code_digest(recipe)
    with (recipe.parent / changed).open("a") as file:
        file.write("# changed\n")

    assert code_digest(recipe) != before


def test_another_file_beside_it_and_another_place_do_not(recipe: Path) -> None:
    before = code_digest(recipe)
    (recipe.parent / "other.py").write_text("changed")
    recipe.parent.rename(recipe.parent.with_name("moved"))

    assert code_digest(recipe.parent.with_name("moved") / "mine.py") == before


@pytest.fixture
def crossval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, object]]:
    """Cross-validates an own copy of the recipe digits in two folds; returns the plan."""
    monkeypatch.chdir(tmp_path)
    for file in ("digits.py", "networks/digits.py"):
        (tmp_path / "training" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "training" / file).write_bytes((carried() / "training" / file).read_bytes())

    def run() -> dict[str, object]:
        words = ["crossval", "digits", "--set", "epochs=1", "--set", "width=4", "--folds", "2", "--json"]
        result = CliRunner().invoke(build(), words)
        assert result.exit_code == 0, result.exception
        return {**json.loads(result.stdout), "said": result.stderr}

    return run


def test_a_changed_network_file_begins_the_folds_afresh(
    crossval: Callable[[], dict[str, object]], tmp_path: Path
) -> None:
    crossval()
    assert "holds 2 of 2 folds already" in str(crossval()["said"])
    with (tmp_path / "training" / "networks" / "digits.py").open("a") as file:
        file.write("# changed\n")

    assert "holds 2 folds of other settings or data: they are removed" in str(crossval()["said"])


def test_the_environment_counts_in_a_cross_validation(
    crossval: Callable[[], dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHFINCH_TRAIN_BATCH_SIZE", "200")
    monkeypatch.setenv("TORCHFINCH_TRAIN_EPOCHS", "7")  # --set wins
    parameters = crossval()["parameters"]

    assert isinstance(parameters, dict)
    assert (parameters["batch_size"], parameters["epochs"]) == (200, 1)
