"""Files of a project: those in the current folder, else the ones that torchfinch carries."""

from importlib import resources
from pathlib import Path

from torchfinch.errors import TorchfinchError


def carried() -> Path:
    """The folder with torchfinch's own `handlers/`, `training/`, `loadtests/` and so on.

    In a wheel that is package data; in a checkout installed as editable it is the checkout.
    """
    package = Path(str(resources.files("torchfinch")))
    data = package / "_project"
    return data if data.is_dir() else package.parents[1]


def project_file(name: str) -> Path:
    """A project file by its path from the project's root: the user's own if it exists, else the carried one.

    Raises:
        TorchfinchError: neither has it.
    """
    for root in (Path.cwd(), carried()):
        if (root / name).exists():
            return root / name
    raise TorchfinchError(f"there is no {name} here", "torchfinch init NAME makes a project that has it")
