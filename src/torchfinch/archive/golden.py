"""Golden requests: a few inputs with the answers that the model must give, wherever it runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TOLERANCE = 1e-4
"""Largest difference of a number that still counts as the same answer; of a number beyond 1, its share."""
EVERYTHING = {"torchfinch-top-k": "all"}
"""Headers of a golden request: of nearly equal probabilities another one may be among the top ones elsewhere."""


@dataclass(frozen=True)
class Golden:
    """One input that travels in the archive, with its expected answer."""

    name: str
    body: bytes
    expected: Any
    """What the answer must hold, as JSON; of objects it may hold more."""


def difference(golden: Golden, answer: Any) -> str | None:
    """What differs between the expected and the given answer, as one sentence; `None` when they agree."""
    found = _difference(golden.expected, answer, "")
    return f"{golden.name}: {found}" if found else None


def _difference(expected: Any, given: Any, path: str) -> str | None:
    if isinstance(expected, Mapping) and isinstance(given, Mapping):
        parts = [(value, given.get(key), f"{path}.{key}") for key, value in expected.items()]
    elif isinstance(expected, list) and isinstance(given, list) and len(expected) == len(given):
        parts = [(*pair, f"{path}[{place}]") for place, pair in enumerate(zip(expected, given, strict=True))]
    elif _same(expected, given):
        return None
    else:
        return f"{path.lstrip('.') or 'the answer'} is {str(given)[:200]}, expected {str(expected)[:200]}"
    return next(filter(None, (_difference(*part) for part in parts)), None)


def _same(expected: Any, given: Any) -> bool:
    if not _is_number(expected):
        return bool(expected == given)
    number = 0.0 if given is None and isinstance(expected, float) else given  # a label that is not among the top ones
    return _is_number(number) and abs(number - expected) <= TOLERANCE * max(1, abs(expected))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
