"""Settings from several sources: a later one wins field by field, and a wrong name is told with the nearest right one.

Names are dotted, `optimizer.momentum`; values are typed, or text as a shell has it.
"""

import ast
import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from torchfinch.errors import TorchfinchError
from torchfinch.files import read_yaml
from torchfinch.training.settings import Section, Settings

ENVIRONMENT = "TORCHFINCH_TRAIN_"
"""Begins the environment's names; two underscores stand for the dot: `TORCHFINCH_TRAIN_OPTIMIZER__NAME=sgd`."""
_Config = TypeVar("_Config", bound=Settings)
_NEEDS: Mapping[str, Mapping[str, str]] = {
    "loss.gamma": {"loss.name": "focal"},
    "loss.delta": {"loss.name": "huber"},
    "optimizer.momentum": {"optimizer.name": "momentum"},
    "schedule.every": {"schedule.name": "step"},
    "schedule.factor": {"schedule.name": "step"},
    "schedule.floor": {"schedule.name": "cosine"},
    "schedule.swing": {"schedule.name": "one_cycle", "optimizer.name": "momentum"},
}
"""By setting, of which others it is a part, and their values."""


def configure(model: type[_Config], *sources: Mapping[str, Any], owner: str) -> _Config:
    """A `model` with its defaults, changed by each source in turn; `owner` is named in errors.

    Raises:
        TorchfinchError: a field is unknown, missing, or its value is wrong.
    """
    known = dict(_fields(model))
    given = _given(sources, known, owner=owner)
    try:
        return _validated(model, given, known)
    except ValidationError as error:
        raise _explained(error.errors()[0], given, known, model=model, owner=owner) from error


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


def without_effect(config: Settings, *sources: Mapping[str, Any]) -> Iterator[str]:
    """A line for each setting that `sources` name and that does nothing beside the others, or leaves them nothing."""
    values = dict(_flat(config.model_dump(), {}))
    for name in dict.fromkeys(name for source in sources for name in _flat(source, values)):
        for owner, needed in _NEEDS.get(name, {}).items():
            if owner in values and values[owner] != needed:
                yield f"{name} has no effect: it is for {owner}={needed}, not {values[owner]}"
    frozen, epochs = values.get("frozen.epochs", 0), values.get("epochs", 0)
    if frozen and frozen >= epochs:
        yield f"the head alone learns in all epochs: frozen.epochs={frozen}, and epochs={epochs}"


def described(model: type[Settings], *sources: Mapping[str, Any], owner: str) -> Iterator[tuple[str, Any, str]]:
    """Every setting's dotted name, its value as it can be given, and what it, or the field that it replaces, says.

    Raises:
        TorchfinchError: a field is unknown, or its value is wrong; one that must be told may be missing.
    """
    known = dict(_fields(model))
    given = _given(sources, known, owner=owner)
    values = {**known, **given}
    try:
        values |= _flat(_validated(model, given, known).model_dump(), known)
    except ValidationError as error:
        for wrong in error.errors():
            if wrong["type"] != "missing":
                raise _explained(wrong, given, known, model=model, owner=owner) from error
    for name, value in values.items():
        said = (_description(kind, name) for kind in model.__mro__ if issubclass(kind, BaseModel))
        yield name, _shown(value), next(filter(None, said), "")


def _given(sources: Iterable[Mapping[str, Any]], known: Mapping[str, Any], *, owner: str) -> dict[str, Any]:
    """What the sources name, by dotted name; the last one that has it counts."""
    given = {name: value for source in sources for name, value in _flat(source, known).items()}
    for name in given:
        if name not in known:
            raise TorchfinchError(f"{owner} has no setting {name!r}", _nearest(name, known))
    return given


def _validated(model: type[_Config], given: Mapping[str, Any], known: Mapping[str, Any]) -> _Config:
    values = {name: value for name, value in known.items() if value is not PydanticUndefined}
    return model.model_validate(_nested({**values, **{name: _read(value) for name, value in given.items()}}))


def _shown(value: Any) -> Any:
    return "(needed)" if value is PydanticUndefined else "none" if value is None else value


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
    wrong: ErrorDetails, given: Mapping[str, Any], known: Mapping[str, Any], *, model: type[BaseModel], owner: str
) -> TorchfinchError:
    place = [str(part) for part in wrong["loc"]]
    names = (".".join(place[:length]) for length in range(len(place), 0, -1))
    name = next((each for each in names if each in known), ".".join(place) or "config")
    if wrong["type"] == "missing":
        return TorchfinchError(f"{owner} must be told {name}", f"--set {name}=...")
    takes = _description(model, name)
    said = "it has no such value" if takes and wrong["type"] == "string_pattern_mismatch" else wrong["msg"]
    message = f"{name}={given.get(name, '')}: {said[0].lower()}{said[1:]}"
    default = known.get(name)
    hints = ("" if default is PydanticUndefined else f"the default is --set {name}={default}", takes)
    return TorchfinchError(message, "; ".join(filter(None, hints)) or None)


def _description(model: type[BaseModel], name: str) -> str:
    """What the field of that dotted name says of itself."""
    first, _, rest = name.partition(".")
    field = model.model_fields.get(first)
    if field is None:
        return ""
    section = field.get_default(call_default_factory=True)
    return _description(type(section), rest) if rest and isinstance(section, Section) else field.description or ""
