"""A real MLflow registry that is told how releases end."""

from pathlib import Path

import pytest
from release.playing import Play

from torchfinch.cli.outcomes import outcomes
from torchfinch.errors import TorchfinchError
from torchfinch.files import sha256
from torchfinch.registry import open_registry
from torchfinch.release.controller import Controller
from torchfinch.release.state import Phase

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::Warning:mlflow", "ignore::Warning:sqlalchemy"),
]


def test_a_promoted_archive_is_the_registrys_champion(
    play: Play, colour_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    uri, world = f"sqlite:///{tmp_path}/mlflow.db", play.world
    open_registry(uri).register(colour_archive)
    world.offered = sha256(colour_archive)
    play.controller = Controller(
        read_spec=lambda: play.spec,
        router=world,
        evidence=world,
        store=world,
        outcomes=outcomes(uri),
        clock=lambda: world.now,
    )

    assert play.ended() is Phase.PROMOTED
    play.controller.finish()

    assert open_registry(uri).fetch("models:/colours@champion", tmp_path / "out").exists()


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
