"""The values to try of each setting: read from text, and as the points of a grid."""

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from torchfinch.errors import TorchfinchError

Space = Mapping[str, BaseDistribution]
FORMS = "LOW..HIGH, LOW..HIGH:log, LOW..HIGH:STEP or A,B,C"


def read_space(described: Mapping[str, str | Sequence[Any]], *, stepped: bool = False) -> Space:
    """The values to try, by the name of their setting.

    Each is a list of choices, or a text: `1e-4..1e-2:log` draws evenly by logarithm, `16..64:16` goes in steps,
    `best,final` or `(50,),(100, 50),None` are choices, values being written as in Python. A range is of whole numbers
    where both its ends are written as such, else of real ones.
    `stepped` is for a grid: without a step, whole numbers would go by one.

    Raises:
        TorchfinchError: nothing is to be tried, a text is none of these, or a range lacks the step that it needs.
    """
    if not described:
        raise TorchfinchError("the search space is empty", f"name a setting and its values: {FORMS}")
    return {name: _read(name, values, stepped=stepped) for name, values in described.items()}


def grid(space: Space) -> dict[str, list[Any]]:
    """Every value of every setting.

    Raises:
        TorchfinchError: a setting has no end of values.
    """
    return {name: _points(name, values) for name, values in space.items()}


def points(space: Space) -> float:
    """How many points the grid would have; infinite where a setting has no end of values."""
    return math.prod(map(_count, space.values()))


def ends(values: BaseDistribution) -> tuple[Any, ...]:
    """The choices, or both ends of a range: where one of them is refused, nothing need be tried."""
    if isinstance(values, CategoricalDistribution):
        return tuple(map(_meant, values.choices))
    assert isinstance(values, FloatDistribution | IntDistribution)
    return values.low, values.high


def drawn(params: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a trial, from what Optuna keeps of them."""
    return {name: _meant(value) for name, value in params.items()}


def read_value(value: Any) -> Any:
    """What text stands for where it is a value that can be stored, written as in Python, or `true`, `false` or `null`.

    Anything else is left as it is.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    known = {"true": True, "false": False, "null": None}
    if text in known:
        return known[text]
    for read in (ast.literal_eval, _number):
        with suppress(ValueError, SyntaxError, TypeError):
            found = read(text)
            if _storable(found):
                return found
    return text


def written(value: Any) -> Any:
    """The text of a tuple, list or dictionary, for neither Optuna nor YAML keeps all of them; else the value itself."""
    return repr(value) if isinstance(value, tuple | list | dict) else value


def _storable(value: Any) -> bool:
    if isinstance(value, dict):
        value = (*value, *value.values())
    if isinstance(value, tuple | list):
        return all(map(_storable, value))
    return value is None or isinstance(value, int | float | str)


def _meant(value: Any) -> Any:
    return read_value(value) if isinstance(value, str) and value.startswith(("(", "[", "{")) else value


def _read(name: str, values: str | Sequence[Any], *, stepped: bool) -> BaseDistribution:
    if isinstance(values, str) and ".." in values:
        return _range(name, values, stepped=stepped)
    parts = list(_parts(values)) if isinstance(values, str) else values
    choices = [written(read_value(part)) for part in parts] if isinstance(parts, list) else []
    if not choices or "" in choices:
        raise TorchfinchError(f"{name}: {values!r} names no values", f"write {FORMS}")
    return CategoricalDistribution(choices)


def _parts(text: str) -> Iterator[str]:
    """The text between its commas, but for those within brackets."""
    part = ""
    for piece in text.split(","):
        part += piece
        if all(part.count(opened) == part.count(closed) for opened, closed in ("()", "[]", "{}")):
            yield part
            part = ""
        else:
            part += ","
    if part:
        yield ""


def _range(name: str, text: str, *, stepped: bool) -> BaseDistribution:
    span, _, kind = text.partition(":")
    low_text, _, high_text = span.partition("..")
    try:
        low, high = _number(low_text), _number(high_text)
        _check_ends(low, high, kind=kind)
        if stepped and not kind:
            message = f"{name}: {text!r} has no step, and a grid tries every point"
            raise TorchfinchError(message, f"--search {name}={span}:{_step(low, high):g}")
        step = _read_step(kind)
        if isinstance(low, int) and isinstance(high, int) and not isinstance(step, float):
            return IntDistribution(low, high, log=kind == "log", step=step or 1)
        return FloatDistribution(low, high, log=kind == "log", step=step)
    except ValueError as error:
        raise TorchfinchError(f"{name}: {text!r} is no range: {error}", f"write {FORMS}") from error


def _check_ends(low: float, high: float, *, kind: str) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("its ends are no finite numbers")
    if low > high:
        raise ValueError("it ends below its beginning")
    if kind == "log" and low <= 0:
        raise ValueError("a logarithmic range begins above 0")


def _read_step(kind: str) -> float | None:
    step = _number(kind) if kind not in {"", "log"} else None
    if step is not None and not 0 < step < math.inf:
        raise ValueError(f"its step is {kind}, and has to be above 0")
    return step


def _step(low: float, high: float) -> float:
    """A step that gives about five points."""
    quarter = (high - low) / 4
    return max(1, round(quarter)) if isinstance(low, int) and isinstance(high, int) else quarter


def _count(values: BaseDistribution) -> float:
    if isinstance(values, CategoricalDistribution):
        return len(values.choices)
    assert isinstance(values, FloatDistribution | IntDistribution)
    if values.log or not values.step:
        return math.inf
    return round((values.high - values.low) / values.step) + 1


def _points(name: str, values: BaseDistribution) -> list[Any]:
    if isinstance(values, CategoricalDistribution):
        return list(values.choices)
    assert isinstance(values, FloatDistribution | IntDistribution)
    if values.log or not values.step:
        raise TorchfinchError(
            f"{name} has no end of values, and a grid tries them all", f"--search {name}=A,B,C or a range with a step"
        )
    if isinstance(values, IntDistribution):
        return list(range(values.low, values.high + 1, values.step))
    return [round(values.low + index * values.step, 12) for index in range(int(_count(values)))]


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
