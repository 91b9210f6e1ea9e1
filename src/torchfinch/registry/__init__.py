"""Where versions of a model are kept: archives are registered, fetched by name and alias, and told how they fared."""

from pathlib import Path
from typing import Protocol

from torchfinch.errors import TorchfinchError

__all__ = ["NoRegistry", "Registry", "open_registry"]


class Registry(Protocol):
    """Keeps archives by model and version; an archive's identity is its digest, the SHA-256 of its bytes."""

    def register(self, archive: Path, *, alias: str | None = None) -> str:
        """Keep an archive and return its version; one that is kept already keeps its version."""

    def promoted(self, digest: str) -> None:
        """The archive serves everybody: `champion` now names its version. An unknown digest is nothing to it."""

    def rolled_back(self, digest: str, reason: str) -> None:
        """The archive was taken back: its version is tagged with the reason."""

    def fetch(self, reference: str, folder: Path) -> Path:
        """Copy an archive, `models:/NAME@ALIAS` or `models:/NAME/VERSION`, into `folder`, and check its digest."""


class NoRegistry:
    """Keeps nothing."""

    def register(self, archive: Path, *, alias: str | None = None) -> str:  # noqa: ARG002
        """No version."""
        return ""

    def promoted(self, digest: str) -> None:
        """Nothing is to be told."""

    def rolled_back(self, digest: str, reason: str) -> None:
        """Nothing is to be told."""

    def fetch(self, reference: str, folder: Path) -> Path:  # noqa: ARG002
        """Nothing can be fetched.

        Raises:
            TorchfinchError: always.
        """
        raise TorchfinchError(f"{reference}: there is no registry", "name one, such as sqlite:///mlflow.db")


def open_registry(uri: str | None) -> Registry:
    """MLflow's registry at `uri`, a database or a server; without one, a registry that keeps nothing.

    Raises:
        TorchfinchError: MLflow is not installed.
    """
    if not uri:
        return NoRegistry()
    try:
        from torchfinch.registry.mlflow import MlflowRegistry  # noqa: PLC0415 # an extra, and heavy
    except ModuleNotFoundError as error:
        raise TorchfinchError("the registry needs mlflow", "pip install 'torchfinch[tracking]'") from error
    return MlflowRegistry(uri)
