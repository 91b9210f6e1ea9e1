"""Golden requests: a few inputs with the answers that the model must give, wherever it runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TOLERANCE = 1e-4
"""Largest difference of a probability that still counts as the same answer; of a number beyond 1, its share."""


@dataclass(frozen=True)
class Golden:
    """One input that travels in the archive, with its expected answer."""

    name: str
    body: bytes
    expected: Mapping[str, Any]


def difference(golden: Golden, answer: Any) -> str | None:
    """What differs between the expected and the given answer, as one sentence; `None` when they agree."""
    if not isinstance(answer, Mapping):
        return f"{golden.name}: the answer is no JSON object: {str(answer)[:200]}"
    if "values" in golden.expected:
        return _numbers(golden, answer.get("values"))
    expected_class = golden.expected.get("predicted_class")
    if answer.get("predicted_class") != expected_class:
        return f"{golden.name}: predicted class is {answer.get('predicted_class')}, expected {expected_class}"
    given = answer.get("probabilities")
    if not isinstance(given, Mapping):
        return f"{golden.name}: the answer has no probabilities"
    for label, probability in golden.expected.get("probabilities", {}).items():
        if abs(given.get(label, 0.0) - probability) > TOLERANCE:
            return f"{golden.name}: probability of {label!r} is {given.get(label)}, expected {probability}"
    return None


def _numbers(golden: Golden, given: Any) -> str | None:
    if not isinstance(given, Mapping):
        return f"{golden.name}: the answer has no values"
    for name, value in golden.expected["values"].items():
        if name not in given or abs(given[name] - value) > TOLERANCE * max(1, abs(value)):
            return f"{golden.name}: {name} is {given.get(name)}, expected {value}"
    return None
