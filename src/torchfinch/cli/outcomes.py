"""The registry that a controller tells how releases end: one that is away stops none of them."""

from typing import TYPE_CHECKING, Annotated

import typer

from torchfinch.console import err
from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    from torchfinch.registry import Registry
    from torchfinch.release.adapters import Outcomes

RegistryUri = Annotated[
    str | None,
    typer.Option(
        "--registry",
        help="MLflow's database or server: a promoted archive becomes champion there, a rolled back one is tagged.",
        envvar="MLFLOW_TRACKING_URI",
        show_default=False,
    ),
]


def outcomes(uri: str | None) -> "Outcomes | None":
    """The registry at `uri`; one that cannot be opened is told now, and tried again when there is news."""
    if uri is None:
        return None
    registry = _LateRegistry(uri)
    try:
        registry.opened()
    except TorchfinchError as error:
        err.print(f"the registry learns nothing until it answers: {error}", markup=False, soft_wrap=True)
    return registry


class _LateRegistry:
    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._registry: Registry | None = None

    def opened(self) -> "Registry":
        from torchfinch.registry import open_registry

        self._registry = self._registry or open_registry(self._uri)
        return self._registry

    def promoted(self, digest: str) -> None:
        self.opened().promoted(digest)

    def rolled_back(self, digest: str, reason: str) -> None:
        self.opened().rolled_back(digest, reason)
