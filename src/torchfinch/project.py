"""Files of a project: those in the current folder, else the ones that torchfinch carries."""

import shutil
import tempfile
from importlib import resources
from pathlib import Path

from torchfinch.errors import TorchfinchError

_SHARED = (
    *("handlers", "training", "model_store", "k8s", "loadtests", "demo", "docs"),
    *("config.properties", "constraints.txt"),
)
_OUTPUT = shutil.ignore_patterns("*.mar", "*.sock", "__pycache__", ".*_cache")
_OWN = "tests/project"


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


def create(folder: Path) -> None:
    """Make a project in `folder`, whole or not at all.

    Raises:
        TorchfinchError: the folder has something in it, or cannot be made.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TorchfinchError(f"{folder} exists and is not empty", "choose another name")
    try:
        place = folder if folder.exists() else folder.parent
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".torchfinch.", dir=place) as temporary:
            made = Path(temporary) / "project"
            _fill(made, name=folder.resolve().name)
            _put(made, folder)
    except shutil.Error as error:  # what copytree met, file by file: the source, the target, and why
        raise TorchfinchError(f"{folder} cannot be made: {error.args[0][0][2]}", "choose another place") from error
    except OSError as error:
        raise TorchfinchError(f"{folder} cannot be made: {error.strerror}", "choose another place") from error


def _put(made: Path, folder: Path) -> None:
    if folder.exists():  # a shell may be in it, or a disk mounted on it, so it stays and what it holds is put there
        for item in made.iterdir():
            item.rename(folder / item.name)
    else:
        made.replace(folder)


def _fill(made: Path, *, name: str) -> None:
    shutil.copytree(carried() / _OWN, made, ignore=_OUTPUT)
    (made / "gitignore").rename(made / ".gitignore")
    readme = made / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8").replace("PROJECT_NAME", name), encoding="utf-8")
    for item in _SHARED:
        source = carried() / item
        if source.is_dir():
            shutil.copytree(source, made / item, ignore=_OUTPUT)
        else:
            shutil.copy2(source, made / item)
