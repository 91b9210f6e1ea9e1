"""Two archives side by side: the same requests to both, each in a process of its own, and where the answers differ."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest, t

from torchfinch.archive import read_archive
from torchfinch.archive.golden import TOLERANCE
from torchfinch.archive.worker import serve_archive

ALPHA = 0.05
_ALL = {"torchfinch-top-k": "all"}

Request = tuple[str, bytes]
"""A name and a body."""
Interval = tuple[float, float]


@dataclass(frozen=True)
class Answer:
    """What one archive said to a request, and how long it took."""

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

    @cached_property
    def probabilities(self) -> Mapping[str, float]:
        """By class; TorchServe's own classifiers answer with nothing else."""
        found: Mapping[str, Any] = self._fields.get("probabilities", self._fields)
        numbers = all(isinstance(value, float) and 0 <= value <= 1 for value in found.values())
        return found if numbers and self.status == 200 else {}

    @property
    def values(self) -> Mapping[str, float]:
        """A regressor's numbers by name."""
        found: Mapping[str, float] = self._fields.get("values", {})
        return found

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
        """Whether neither archive answered it, as where it is no image."""
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
        """Whether the class differs, a number is beyond the tolerance, or only one archive answered."""
        if self.first.probabilities and self.second.probabilities:
            return self.first.label != self.second.label
        return self.distance > (1.0 if self.first.values else 0.0)


@dataclass(frozen=True)
class Estimate:
    """A mean, and its 95 % interval where there are at least two values."""

    mean: float
    interval: Interval | None


@dataclass(frozen=True)
class Difference:
    """What many pairs say together."""

    pairs: tuple[Pair, ...]

    @cached_property
    def answered(self) -> list[Pair]:
        """Those that at least one archive answered."""
        return [pair for pair in self.pairs if not pair.refused]

    @cached_property
    def disagreements(self) -> list[Pair]:
        """Those on which the archives disagree, the farthest apart first."""
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
        found = binomtest(len(self.disagreements), len(self.answered)).proportion_ci(1 - ALPHA, method="wilson")
        return float(found.low), float(found.high)

    @cached_property
    def confidence(self) -> Estimate | None:
        """How much higher the second archive's confidence is; None where they have none."""
        both = [(pair.first.confidence, pair.second.confidence) for pair in self.answered]
        changes = [second - first for first, second in both if first is not None and second is not None]
        return _estimate(changes) if changes else None

    @cached_property
    def latency(self) -> Estimate | None:
        """The second archive's time as a multiple of the first one's: the geometric mean over the requests."""
        logs = [math.log(pair.second.seconds / pair.first.seconds) for pair in self.answered]
        if not logs:
            return None
        found = _estimate(logs)
        interval = found.interval and (math.exp(found.interval[0]), math.exp(found.interval[1]))
        return Estimate(math.exp(found.mean), interval)


def ask_both(first: Path, second: Path, requests: Iterable[Request]) -> Iterator[Pair]:
    """The answers of two archives, request by request and in turn, so that both meet the same load of the machine.

    Raises:
        TorchfinchError: a file is no archive, or its handler cannot be loaded or raises.
    """
    with serve_archive(first) as one, serve_archive(second) as other:
        for number, (name, body) in enumerate(requests):
            if number == 0:  # what is done only once is not the request's
                one.ask(body, headers=_ALL)
                other.ask(body, headers=_ALL)
            workers = (one, other) if number % 2 == 0 else (other, one)
            batches = [worker.ask(body, headers=_ALL) for worker in workers]
            answers = [Answer(*batch.answers[0], batch.seconds) for batch in batches]
            yield Pair(name, *(answers if number % 2 == 0 else answers[::-1]))


def golden_requests(*archives: Path) -> list[Request]:
    """The golden requests of archives, each body once."""
    return list(
        {golden.body: (golden.name, golden.body) for path in archives for golden in read_archive(path).golden}.values()
    )


def _estimate(values: list[float]) -> Estimate:
    """The mean of paired differences, with Student's interval."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(mean, None)
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values)) * float(t.ppf(1 - ALPHA / 2, len(values) - 1))
    return Estimate(mean, (mean - error, mean + error))
