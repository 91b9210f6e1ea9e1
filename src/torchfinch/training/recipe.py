"""Find a recipe by name or path, import it, and read its settings from text."""

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from torchfinch.errors import TorchfinchError
from torchfinch.handler import Preprocessing
from torchfinch.project import carried
from torchfinch.training.chance import libraries_kept, seed_libraries
from torchfinch.training.configure import configure, described
from torchfinch.training.data import Data
from torchfinch.training.settings import Settings


@dataclass(frozen=True)
class Recipe:
    """An imported recipe file."""

    name: str
    """The file's name without `.py`."""
    path: Path
    """The file."""
    config: type[Settings]
    """Its `Config`: the fields that it can be told, with their defaults."""
    build: Callable[[Any], tuple[Data, nn.Module, Preprocessing]]
    """Its `build(config)`: the images, the network with its first weights, and what is done to an image."""

    def configure(self, *sources: Mapping[str, Any]) -> Settings:
        """The recipe's settings by dotted name, typed or as text; a later source wins field by field.

        Raises:
            TorchfinchError: a field is unknown, missing, or its value is wrong.
        """
        return configure(self.config, *sources, owner=f"the recipe {self.name}")

    def described(self, *sources: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
        """Every setting's dotted name, its value after `sources`, and what it means; a needed one may be missing.

        Raises:
            TorchfinchError: a field is unknown, or its value is wrong.
        """
        return described(self.config, *sources, owner=f"the recipe {self.name}")

    def made(self, settings: Settings) -> tuple[Data, nn.Module, Preprocessing]:
        """What `build` gives, with all chance from the settings' seed.

        Raises:
            TorchfinchError: it cannot read or accept its images.
        """
        torch.manual_seed(settings.seed)
        with libraries_kept():
            seed_libraries(settings.seed)
            try:
                return self.build(settings)
            except (OSError, ValueError) as error:
                raise TorchfinchError(f"the recipe {self.name}: {error}") from error


def recipe_names() -> list[str]:
    """Names of the recipes in `training/` of the current folder and of torchfinch itself."""
    return sorted({path.stem for folder in _folders() for path in folder.glob("*.py") if path.stem.isidentifier()})


def load_recipe(name_or_path: str) -> Recipe:
    """Import a recipe: a name is looked for in `training/` here, then in torchfinch's own; else it is a path.

    The file may import its neighbours relatively (`from .networks.digits import DigitsNet`).

    Raises:
        TorchfinchError: there is no such recipe, it cannot be imported, or it is none.
    """
    path = _find(name_or_path)
    module = _import(path)
    config, build = getattr(module, "Config", None), getattr(module, "build", None)
    if not (isinstance(config, type) and issubclass(config, Settings) and callable(build)):
        raise TorchfinchError(
            f"{path} is no recipe: it needs a class Config(Settings) and a function build(config)",
            "training/digits.py is an example",
        )
    return Recipe(name=path.stem, path=path, config=config, build=build)


def _folders() -> tuple[Path, ...]:
    return Path("training"), carried() / "training"


def _find(name_or_path: str) -> Path:
    if name_or_path.endswith(".py") or "/" in name_or_path:
        path = Path(name_or_path)
        if not path.is_file():
            raise TorchfinchError(f"there is no recipe file {path}", f"recipes by name: {', '.join(recipe_names())}")
        return path.resolve()
    for folder in _folders():
        path = folder / f"{name_or_path}.py"
        if path.is_file():
            return path.resolve()
    raise TorchfinchError(f"there is no recipe {name_or_path!r}", f"there are {', '.join(recipe_names())}")


def _import(path: Path) -> ModuleType:
    # A package of its own for every folder: relative imports work, and two folders' files never mix.
    package = "torchfinch_recipes_" + hashlib.sha256(str(path.parent).encode()).hexdigest()[:12]
    if package not in sys.modules:
        sys.modules[package] = ModuleType(package)
        sys.modules[package].__path__ = [str(path.parent)]
    name = f"{package}.{path.stem.replace('.', '_')}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        message = f"the recipe {path} cannot be imported: {_place(error, path)}"
        raise TorchfinchError(message, _way_out(error, path)) from error
    return module


def _place(error: Exception, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.msg} (line {error.lineno})"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    place = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {error}{place}"


def _way_out(error: Exception, path: Path) -> str:
    name = (error.name or "").split(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if name and ((path.parent / f"{name}.py").exists() or (path.parent / name).is_dir()):
        return f"a neighbour is imported with a dot: from .{name} import ..."
    return f"install what has the module {name}" if name.isidentifier() else "mend the file"
