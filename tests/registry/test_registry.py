"""A real MLflow registry in a database: archives in and out, aliases and reasons."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from torchfinch.errors import TorchfinchError, without_password
from torchfinch.files import sha256
from torchfinch.registry import NoRegistry, open_registry

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

pytestmark = pytest.mark.filterwarnings("ignore::Warning:mlflow", "ignore::Warning:sqlalchemy")


def test_without_a_registry_nothing_is_kept_and_nothing_fails(colour_archive: Path, tmp_path: Path) -> None:
    registry = open_registry(None)

    assert isinstance(registry, NoRegistry)
    assert registry.register(colour_archive) == ""
    registry.promoted("0" * 64)
    registry.rolled_back("0" * 64, "errors")
    with pytest.raises(TorchfinchError, match="there is no registry"):
        registry.fetch("models:/colours@champion", tmp_path)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("sqlite:///a@b.db", "sqlite:///a@b.db"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("file://host/a@b.db", "file://host/a@b.db"),
        ("http://user:secret@host:5000/a", "http://***@host:5000/a"),
        ("http://token@host/a@b", "http://***@host/a@b"),
        ("mysql://user:a/secret@host/db", "mysql://***@host/db"),
        ("postgresql+psycopg://user:s@e/cret@host/db", "postgresql+psycopg://***@host/db"),
    ],
)
def test_an_address_is_shown_without_its_password_and_with_its_whole_path(address: str, shown: str) -> None:
    assert without_password(address) == shown


def version(folder: Path) -> "ModelVersion":
    """The only one in the folder's database."""
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{folder}/mlflow.db").get_model_version("colours", "1")


@pytest.mark.slow
def test_an_archive_is_registered_once_fetched_whole_and_told_how_it_fared(
    colour_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    registry = open_registry(f"sqlite:///{tmp_path}/mlflow.db")
    digest = sha256(colour_archive)

    assert registry.register(colour_archive, alias="challenger") == registry.register(colour_archive) == "1"
    assert sha256(registry.fetch("models:/colours@challenger", tmp_path / "out")) == digest
    with pytest.raises(TorchfinchError, match="champion"):
        registry.fetch("models:/colours@champion", tmp_path)
    registry.promoted(digest)
    assert registry.fetch("models:/colours@champion", tmp_path / "out") == tmp_path / "out" / colour_archive.name
    assert version(tmp_path).aliases == ["champion"]
    registry.register(colour_archive, alias="challenger")
    registry.rolled_back(digest, "errors")
    assert version(tmp_path).tags["rolled_back"] == "errors"
    assert version(tmp_path).aliases == ["champion"]
    registry.promoted(digest)
    assert "rolled_back" not in version(tmp_path).tags
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file/below"):
        registry.fetch("models:/colours@champion", tmp_path / "file" / "below")
    with pytest.raises(TorchfinchError, match="'colours' is no version"):
        registry.fetch("colours", tmp_path)

    kept = next(path for path in tmp_path.rglob("*.mar") if path.parent.name != "out")
    kept.write_bytes(b"changed")
    with pytest.raises(TorchfinchError, match="is not the archive that was registered"):
        registry.fetch("models:/colours/1", tmp_path / "again")
    assert not (tmp_path / "again").exists()
