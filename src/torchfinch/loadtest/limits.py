"""Limits a load test has to keep: `p95=500ms`, `errors=1%`, `throughput=50`."""

import re
from dataclasses import dataclass
from typing import Literal

from torchfinch.loadtest.summary import Numbers, Verdict

LATENCIES = ("p50", "p95", "p99", "mean")
EXAMPLES = "p95=500ms, p99=1.5s, mean=80ms, errors=1%, throughput=50"
Name = Literal["p50", "p95", "p99", "mean", "errors", "throughput"]


@dataclass(frozen=True)
class Limit:
    """The worst value that is still good: at most `value` (for `throughput`, at least).

    Latencies are milliseconds, `errors` is a share between 0 and 1, `throughput` good answers per second.
    """

    name: str
    value: float

    def judge(self, numbers: Numbers) -> Verdict:
        """What was measured against this limit."""
        measured = numbers.error_rate if self.name == "errors" else float(getattr(numbers, self.name))
        kept = measured >= self.value if self.name == "throughput" else measured <= self.value
        return Verdict(name=self.name, limit=self.value, value=measured, ok=kept)


def parse_limit(text: str) -> Limit:
    """Read `NAME=VALUE`.

    Raises:
        ValueError: with the reason and valid examples.
    """
    name, separator, value = (part.strip() for part in text.partition("="))
    unit = {"errors": "%", "throughput": "(?:/s)?"}.get(name, "(?:ms|s)" if name in LATENCIES else None)
    if unit is None or not separator:
        raise ValueError(f"{text!r} is no limit; valid ones: {EXAMPLES}")
    match = re.fullmatch(rf"(\d+(?:\.\d+)?)\s*({unit})", value)
    if match is None:
        raise ValueError(f"{value!r} is no value for {name}; valid ones: {EXAMPLES}")
    scale = {"s": 1000.0, "%": 0.01}.get(match[2], 1.0)
    return Limit(name=name, value=float(match[1]) * scale)


def parse_duration(text: str) -> int:
    """Seconds in `45`, `30s`, `5m` or `1h30m`.

    Raises:
        ValueError: with the reason and valid examples.
    """
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text.strip())
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = hours * 3600 + minutes * 60 + seconds
    if total < 1:
        raise ValueError(f"{text!r} is no duration; valid ones: 30s, 5m, 1h30m")
    return total


def phrase(name: str, value: float) -> str:
    """A measured value or a limit in its unit: `12.5 ms`, `0.4 %`, `51.3/s`."""
    if name == "errors":
        return f"{value * 100:.3g} %"
    return f"{value:.1f}/s" if name == "throughput" else f"{milliseconds(value)} ms"


def milliseconds(value: float) -> str:
    """Three digits are what is known: `3.14`, `48.2`, `1250`."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
