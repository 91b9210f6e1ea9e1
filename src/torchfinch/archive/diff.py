"""Two versions side by side: the same requests to both, and where the answers differ.

SciPy is loaded for intervals alone: a release's controller, which compares without them, stays small.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from torchfinch.archive.golden import TOLERANCE
from torchfinch.archive.read import read_archive
from torchfinch.archive.worker import Worker, serve_archive

ALPHA = 0.05
_ALL = {"torchfinch-top-k": "all"}

Request = tuple[str, bytes]
"""A name and a body."""
Interval = tuple[float, float]


@dataclass(frozen=True)
class Answer:
    """What one version said to a request, and how long it took."""

    status: int
    content: Any
    seconds: float

    @property
    def label(self) -> str:
        """The answer in few words: the class, or whatever else was said."""
        if self.status != 200:
            return f"status {self.status}"
        if "label" in self._fields:
            return str(self._fields["label"])
        if self.probabilities:
            return max(self.probabilities, key=lambda name: self.probabilities[name])
        return ", ".join(f"{name} {value:.4g}" for name, value in self.values.items()) or str(self.content)[:40]

    @property
    def confidence(self) -> float | None:
        """The highest probability; None where the answer has none."""
        return max(self.probabilities.values(), default=None)

    @property
    def told(self) -> str:
        """The answer and its confidence in few words."""
        return self.label if self.confidence is None else f"{self.label} {self.confidence:.3f}"

    @cached_property
    def probabilities(self) -> Mapping[str, float]:
        """By class; TorchServe's own classifiers answer with nothing else."""
        found = _numbers(self._fields.get("probabilities", self._fields))
        shares = all(isinstance(value, float) and 0 <= value <= 1 for value in found.values())
        return found if shares and self.status == 200 else {}

    @property
    def values(self) -> Mapping[str, float]:
        """A regressor's numbers by name."""
        return _numbers(self._fields.get("values"))

    @property
    def _fields(self) -> Mapping[str, Any]:
        return self.content if isinstance(self.content, Mapping) else {}


@dataclass(frozen=True)
class Pair:
    """Both answers to one request."""

    name: str
    first: Answer
    second: Answer

    @property
    def refused(self) -> bool:
        """Whether neither version answered it, as where it is no image."""
        return self.first.status != 200 != self.second.status

    @cached_property
    def distance(self) -> float:
        """How far apart the answers are.

        Of classes the total variation distance, from 0 to 1; of numbers the largest difference, as a multiple of the
        tolerance of golden requests; infinite where only one answered,
        or they speak of other things.
        """
        one, other = self.first, self.second
        if (one.status == 200) != (other.status == 200) or one.values.keys() != other.values.keys():
            return math.inf
        if one.probabilities and other.probabilities:
            names = {*one.probabilities, *other.probabilities}
            return sum(abs(one.probabilities.get(name, 0.0) - other.probabilities.get(name, 0.0)) for name in names) / 2
        if one.values:
            return max(
                abs(value - other.values[name]) / (TOLERANCE * max(1.0, abs(value)))
                for name, value in one.values.items()
            )
        return float(one.content != other.content)

    @property
    def disagree(self) -> bool:
        """Whether the class differs, a number is beyond the tolerance, or only one version answered."""
        if self.first.probabilities and self.second.probabilities:
            return self.first.label != self.second.label
        return self.distance > (1.0 if self.first.values else 0.0)


@dataclass(frozen=True)
class Estimate:
    """The mean of paired differences; of paired ratios the geometric mean."""

    values: Sequence[float]
    ratios: bool = False

    @property
    def mean(self) -> float:
        """Of the values."""
        return self._back(fmean(self._terms))

    @property
    def interval(self) -> Interval | None:
        """Student's 95 % interval; None for a single value."""
        from scipy.stats import t  # noqa: PLC0415

        terms = self._terms
        if len(terms) < 2:
            return None
        error = stdev(terms) / math.sqrt(len(terms)) * float(t.ppf(1 - ALPHA / 2, len(terms) - 1))
        return self._back(fmean(terms) - error), self._back(fmean(terms) + error)

    @cached_property
    def _terms(self) -> Sequence[float]:
        return [math.log(value) for value in self.values] if self.ratios else self.values

    def _back(self, term: float) -> float:
        return math.exp(term) if self.ratios else term


@dataclass(frozen=True)
class Difference:
    """What many pairs say together."""

    pairs: tuple[Pair, ...]

    @cached_property
    def answered(self) -> list[Pair]:
        """Those that at least one version answered."""
        return [pair for pair in self.pairs if not pair.refused]

    @cached_property
    def disagreements(self) -> list[Pair]:
        """Those on which the versions disagree, the farthest apart first."""
        return sorted((pair for pair in self.answered if pair.disagree), key=lambda pair: -pair.distance)

    @property
    def share(self) -> float:
        """Of the answered requests, those with a disagreement; 0 without any."""
        return len(self.disagreements) / len(self.answered) if self.answered else 0.0

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of the share."""
        if not self.answered:
            return 0.0, 1.0
        from scipy.stats import binomtest  # noqa: PLC0415

        found = binomtest(len(self.disagreements), len(self.answered)).proportion_ci(1 - ALPHA, method="wilson")
        return float(found.low), float(found.high)

    @cached_property
    def confidence(self) -> Estimate | None:
        """How much higher the second version's confidence is; None where they have none."""
        both = [(pair.first.confidence, pair.second.confidence) for pair in self.answered]
        changes = [second - first for first, second in both if first is not None and second is not None]
        return Estimate(changes) if changes else None

    @cached_property
    def latency(self) -> Estimate | None:
        """The second version's time as a multiple of the first one's."""
        ratios = [pair.second.seconds / pair.first.seconds for pair in self.answered]
        return Estimate(ratios, ratios=True) if ratios else None


Ask = Callable[[bytes], Answer]
"""Sends a body to one version."""


def ask_in_turn(first: Ask, second: Ask, requests: Iterable[Request]) -> Iterator[Pair]:
    """The answers of two versions, request by request and in turn, so that both meet the same load of the machine."""
    for number, (name, body) in enumerate(requests):
        if number == 0:  # what is done only once is not the request's
            first(body)
            second(body)
        if number % 2 == 0:
            yield Pair(name, first(body), second(body))
        else:
            answer = second(body)
            yield Pair(name, first(body), answer)


def ask_both(first: Path, second: Path, requests: Iterable[Request]) -> Iterator[Pair]:
    """The answers of two archives, each in a process of its own.

    Raises:
        TorchfinchError: a file is no archive, or its handler cannot be loaded or raises.
    """
    with serve_archive(first) as one, serve_archive(second) as other:
        yield from ask_in_turn(_asking(one), _asking(other), requests)


def _asking(worker: Worker) -> Ask:
    def ask(body: bytes) -> Answer:
        batch = worker.ask(body, headers=_ALL)
        return Answer(*batch.answers[0], batch.seconds)

    return ask


def golden_requests(*archives: Path) -> list[Request]:
    """The golden requests of archives, each body once."""
    return list(
        {golden.body: (golden.name, golden.body) for path in archives for golden in read_archive(path).golden}.values()
    )


def _numbers(found: object) -> Mapping[str, float]:
    """A mapping to nothing but numbers; an empty one for whatever else a server says."""
    if isinstance(found, Mapping) and all(isinstance(value, int | float) for value in found.values()):
        return found
    return {}
