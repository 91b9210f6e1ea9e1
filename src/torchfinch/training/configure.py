"""Settings from several sources: a later one wins field by field, and a wrong name is told with the nearest right one.

Names are dotted, `optimizer.momentum`; values are typed, or text as a shell has it.
"""

import ast
import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from torchfinch.errors import TorchfinchError
from torchfinch.files import read_yaml
from torchfinch.training.settings import Section, Settings

ENVIRONMENT = "TORCHFINCH_TRAIN_"
"""Begins the environment's names; two underscores stand for the dot: `TORCHFINCH_TRAIN_OPTIMIZER__NAME=sgd`."""
_Config = TypeVar("_Config", bound=Settings)


def configure(model: type[_Config], *sources: Mapping[str, Any], owner: str) -> _Config:
    """A `model` with its defaults, changed by each source in turn; `owner` is named in errors.

    Raises:
        TorchfinchError: a field is unknown, missing, or its value is wrong.
    """
    known = dict(_fields(model))
    given = {name: value for source in sources for name, value in _flat(source, known).items()}
    for name in given:
        if name not in known:
            raise TorchfinchError(f"{owner} has no setting {name!r}", _nearest(name, known))
    values = {name: value for name, value in known.items() if value is not PydanticUndefined}
    try:
        return model.model_validate(_nested({**values, **{name: _read(value) for name, value in given.items()}}))
    except ValidationError as error:
        raise _explained(error, given, known, owner=owner) from error


def read_config(path: Path) -> tuple[str, dict[str, Any]]:
    """The recipe that a YAML file names, and the settings beside it.

    Raises:
        TorchfinchError: the file cannot be read, is no YAML mapping, or names no recipe.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("recipe"), str):
        raise TorchfinchError(f"{path} names no recipe", "begin it with a line such as: recipe: digits")
    return content["recipe"], {str(name): value for name, value in content.items() if name != "recipe"}


def from_environment() -> dict[str, str]:
    """The settings in the environment, by dotted name."""
    found = {name: value for name, value in os.environ.items() if name.startswith(ENVIRONMENT)}
    return {name.removeprefix(ENVIRONMENT).lower().replace("__", "."): value for name, value in found.items()}


def _fields(model: type[BaseModel], prefix: str = "", defaults: BaseModel | None = None) -> Iterator[tuple[str, Any]]:
    """Dotted names with their defaults; a recipe may have replaced those of a section."""
    for name, field in model.model_fields.items():
        default = getattr(defaults, name) if defaults else field.get_default(call_default_factory=True)
        if isinstance(default, Section):
            yield from _fields(type(default), f"{prefix}{name}.", default)
        else:
            yield prefix + name, default


def _flat(values: Mapping[str, Any], known: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        section = isinstance(value, Mapping) and name not in known
        flat |= _flat(value, known, f"{name}.") if section else {name: value}
    return flat


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *sections, last = name.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return nested


def _read(value: Any) -> Any:
    """What text stands for where pydantic would not know: lists."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value) if value[:1] in {"[", "("} else value
    except (SyntaxError, ValueError):
        return value


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    last = {each.rpartition(".")[2]: each for each in known}
    close = difflib.get_close_matches(name, known, n=1)
    close = close or [last[each] for each in difflib.get_close_matches(name.rpartition(".")[2], last, n=1)]
    return f"did you mean {close[0]}?" if close else f"it has {', '.join(known)}"


def _explained(
    error: ValidationError, given: Mapping[str, Any], known: Mapping[str, Any], *, owner: str
) -> TorchfinchError:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    names = (".".join(place[:length]) for length in range(len(place), 0, -1))
    name = next((each for each in names if each in known), ".".join(place) or "config")
    if first["type"] == "missing":
        return TorchfinchError(f"{owner} must be told {name}", f"--set {name}=...")
    message = f"{name}={given.get(name, '')}: {first['msg'][0].lower()}{first['msg'][1:]}"
    default = known.get(name)
    return TorchfinchError(message, None if default is PydanticUndefined else f"the default is --set {name}={default}")
