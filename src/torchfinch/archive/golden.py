"""Golden requests: a few inputs with the answers that the model must give, wherever it runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TOLERANCE = 1e-4
"""Largest difference of a probability that still counts as the same answer."""


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
