"""Where trainings and versions of a model are kept.

`tracking` keeps a training with all that is known of it. A registry keeps archives: they are registered, fetched by
name and alias, and told how they fared. Both are MLflow's; without an address nothing is kept and all else is the same.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from torchfinch.errors import TorchfinchError
from torchfinch.registry.record import (
    Difference,
    Record,
    differences,
    find_folders,
    read_record,
    weights_digest,
)

if TYPE_CHECKING:
    from torchfinch.training import Epoch

__all__ = [
    "Difference",
    "NoRegistry",
    "Record",
    "Registry",
    "Version",
    "differences",
    "find_folders",
    "open_registry",
    "read_record",
    "tracking",
    "weights_digest",
]

_QUIET = {  # MLflow reads them when it is loaded; whoever has set one keeps it
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)


@dataclass(frozen=True)
class Version:
    """One version of a registered model."""

    model: str
    number: str
    aliases: tuple[str, ...]
    run: str
    """Name of the tracked training that it comes from; empty where that is not known."""

    @property
    def reference(self) -> str:
        """What `fetch` takes."""
        return f"models:/{self.model}/{self.number}"

    def __str__(self) -> str:
        aliases = f" ({', '.join(self.aliases)})" if self.aliases else ""
        return f"{self.model} {self.number}{aliases}, of {f'the run {self.run}' if self.run else 'no tracked run'}"


class Registry(Protocol):
    """Keeps archives by model and version; an archive's identity is its digest, the SHA-256 of its bytes."""

    def register(self, archive: Path, *, alias: str | None = None) -> str:
        """Keep an archive and return its version; one that is kept already keeps its version.

        A new version is one of the tracked training that left the same weights, where there is one.
        """

    def find(self, reference: str) -> Version:
        """The version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` means."""

    def trained(self, weights: str) -> list[Version]:
        """The versions whose weights have this digest."""

    def promoted(self, digest: str) -> None:
        """The archive serves everybody: `champion` now names its version, and `challenger` does not.

        An unknown digest is nothing to it.
        """

    def rolled_back(self, digest: str, reason: str) -> None:
        """The archive was taken back: its version is tagged with the reason, and is no `challenger` any more."""

    def fetch(self, reference: str, folder: Path) -> Path:
        """Copy an archive, `models:/NAME@ALIAS` or `models:/NAME/VERSION`, into `folder`, and check its digest."""


class NoRegistry:
    """Keeps nothing."""

    def register(self, archive: Path, *, alias: str | None = None) -> str:  # noqa: ARG002
        """No version."""
        return ""

    def find(self, reference: str) -> Version:
        """Nothing can be found.

        Raises:
            TorchfinchError: always.
        """
        raise _no_registry(reference)

    def trained(self, weights: str) -> list[Version]:  # noqa: ARG002
        """No version."""
        return []

    def promoted(self, digest: str) -> None:
        """Nothing is to be told."""

    def rolled_back(self, digest: str, reason: str) -> None:
        """Nothing is to be told."""

    def fetch(self, reference: str, folder: Path) -> Path:  # noqa: ARG002
        """Nothing can be fetched.

        Raises:
            TorchfinchError: always.
        """
        raise _no_registry(reference)


def _no_registry(reference: str) -> TorchfinchError:
    return TorchfinchError(f"{reference}: there is no registry", "name one, such as sqlite:///mlflow.db")


def open_registry(uri: str | None) -> Registry:
    """MLflow's registry at `uri`, a database or a server; without one, a registry that keeps nothing.

    Raises:
        TorchfinchError: MLflow is not installed, or does not answer.
    """
    if not uri:
        return NoRegistry()
    _need_mlflow()
    from torchfinch.registry.mlflow import MlflowRegistry  # noqa: PLC0415 # an extra, and heavy

    return MlflowRegistry(uri)


def tracking(
    uri: str | None,
    folder: Path,
    *,
    recipe: str,
    fill: Callable[[Path], object],
    settings: Mapping[str, Any] | None = None,
) -> "AbstractContextManager[Callable[[Epoch], object]]":
    """Keep the training that leaves the run folder `folder` in the block; without a `uri`, do nothing.

    Its MLflow run, in the experiment named as the recipe, is RUNNING in the block, and then FINISHED, KILLED by Ctrl-C
    or SIGTERM, or FAILED. Parameters are the settings and the network's arguments; metrics are the epochs' and the
    scores; tags are data digest and git revision; artifacts are the run folder's JSON files and whatever `fill` writes
    into an empty folder; the network is its logged model. `settings`, those of the run folder, are kept before the
    block. It is given what hears of every epoch, and keeps it at once. A block without a body keeps a training of
    earlier.

    Raises:
        TorchfinchError: MLflow is not installed, or refused; what the block did is unharmed.
    """
    if uri is None:
        return nullcontext(lambda _epoch: None)
    _need_mlflow()
    from torchfinch.registry.mlflow_tracking import mlflow_tracking  # noqa: PLC0415

    return mlflow_tracking(uri, folder, recipe=recipe, fill=fill, settings=settings or {})


def _need_mlflow() -> None:
    try:
        import mlflow  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        raise TorchfinchError("tracking and registry need mlflow", "pip install 'torchfinch[tracking]'") from error
