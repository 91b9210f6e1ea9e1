"""The releases on this machine, by name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    from torchfinch.release.local.store import FileStore

HOME = Path(".torchfinch")
Name = Annotated[str, typer.Argument(help="The release's name, metadata.name of its manifest.", show_default=False)]


def list_releases(*, begun: bool = True) -> "list[FileStore]":
    """All of them; with `begun=False` those too whose first start failed, or whose state is lost."""
    from torchfinch.release.local.store import FileStore

    found = [FileStore(folder) for folder in sorted((HOME / "releases").glob("*"))]
    return [store for store in found if store.exists or not begun]


def find_release(name: str, *, begun: bool = True) -> "FileStore":
    """One of them.

    Raises `TorchfinchError` where there is none of this name.
    """
    known = {each.folder.name: each for each in list_releases(begun=begun)}
    if name not in known:
        raise TorchfinchError(
            f"there is no release {name} here (known: {', '.join(known) or 'none'})", "torchfinch canary run MANIFEST"
        )
    return known[name]
