"""A real MLflow registry that is told how releases end."""

from pathlib import Path

import pytest
from release.playing import Play

from torchfinch.cli.outcomes import outcomes
from torchfinch.errors import TorchfinchError
from torchfinch.files import sha256
from torchfinch.registry import Registry, open_registry
from torchfinch.release.controller import Controller
from torchfinch.release.state import Phase

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::Warning:mlflow", "ignore::Warning:sqlalchemy"),
]


@pytest.fixture
def registry(play: Play, colour_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """It keeps the archive that is released, as the challenger, and the release tells it."""
    monkeypatch.chdir(tmp_path)
    uri, world = f"sqlite:///{tmp_path}/mlflow.db", play.world
    kept = open_registry(uri)
    kept.register(colour_archive, alias="challenger")
    world.offered = sha256(colour_archive)
    play.controller = Controller(
        read_spec=lambda: play.spec,
        router=world,
        evidence=world,
        store=world,
        outcomes=outcomes(uri),
        clock=lambda: world.now,
    )
    return kept


def tags(folder: Path) -> dict[str, str]:
    """Of the only version in the folder's database."""
    from mlflow import MlflowClient

    return dict(MlflowClient(f"sqlite:///{folder}/mlflow.db").get_model_version("colours", "1").tags)


def test_a_promoted_archive_is_the_registrys_champion(play: Play, registry: Registry, tmp_path: Path) -> None:
    assert play.ended() is Phase.PROMOTED
    play.controller.finish()

    assert registry.find("models:/colours/1").aliases == ("champion",)
    assert registry.fetch("models:/colours@champion", tmp_path / "out").exists()


def test_an_archive_that_was_taken_back_has_the_reason_in_the_registry(
    play: Play, registry: Registry, tmp_path: Path
) -> None:
    assert play.world.offered
    assert play.ended(error_rate={play.world.offered: 0.5}) is Phase.ROLLED_BACK
    play.controller.finish()

    assert registry.find("models:/colours/1").aliases == ()
    assert tags(tmp_path)["rolled_back"] == play.reason
    assert "error rate" in play.reason


def test_a_registry_that_is_away_is_told_at_the_start_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    told = outcomes(f"sqlite:///{tmp_path}/taken/mlflow.db")

    assert told
    assert "the registry learns nothing until it answers: sqlite:///" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(TorchfinchError, match="sqlite:///"):
        told.promoted("0" * 64)


def test_without_a_registry_nobody_is_told() -> None:
    assert outcomes(None) is None
