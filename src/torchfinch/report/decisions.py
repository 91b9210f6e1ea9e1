"""One turn of a release's controller, in words."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torchfinch.report.intervals import Interval, mean_interval, share_interval
from torchfinch.report.words import clock, milliseconds, minutes, number, percent

Record = Mapping[str, Any]
TONES = {"Promoted": "good", "Promoting": "good", "RolledBack": "bad", "RollingBack": "bad", "Paused": "warn"}
CLAIMS = ("failing more than stable", "slower than stable", "failing over the limit", "refusing more than stable")
"""What the policy `sequential` gathers evidence for."""
SIGNS = {"pass": "✓", "fail": "✗", "hold": "…", "skip": "-"}
_TEXTS: Mapping[str, Callable[[float], str]] = {
    "number": number,
    "share": percent,
    "seconds": lambda seconds: milliseconds(1000 * seconds),
    "odds": lambda odds: f"1 in {odds:,.0f}",
}
"""By a check's unit."""


@dataclass(frozen=True)
class Check:
    """One comparison; `verdict` is pass, fail, hold (not enough to tell yet) or skip (cannot be told here)."""

    name: str
    value: str
    limit: str
    verdict: str
    sign: str
    note: str


@dataclass(frozen=True)
class Sample:
    """What one arm has answered since the release began."""

    role: str
    words: str


@dataclass(frozen=True)
class Turn:
    """A history line, `at` seconds after the release began.

    `number` is set where weight or phase changed, as marked in the chart; `weight_before` is the turn's before.
    """

    record: Record
    at: float
    number: int | None
    weight_before: int

    @property
    def weight(self) -> int:
        """Percent of the traffic on the new version: a promoted one has it all, though no longer as a canary."""
        return 100 if self.phase == "Promoted" else int(self.record["weight"])

    @property
    def phase(self) -> str:
        """As the controller names it."""
        return str(self.record["phase"])

    @property
    def change(self) -> str:
        """What this turn changed: the weight, else the phase."""
        return f"{self.weight_before} → {self.weight} %" if self.weight != self.weight_before else self.phase

    @property
    def tone(self) -> str:
        """The colour of the phase."""
        return TONES.get(self.phase, "accent")

    @property
    def time(self) -> str:
        """Time of day, UTC."""
        return clock(self.record["time"])

    @property
    def elapsed(self) -> str:
        """Since the release began."""
        return minutes(self.at)

    @property
    def step(self) -> str:
        """How far the release has come."""
        return f"{self.record['step']} of {self.record['steps']}"

    @property
    def reason(self) -> str:
        """Why, in the controller's words."""
        return str(self.record["reason"])

    @property
    def notes(self) -> list[str]:
        """What else a person should know."""
        return [note for note in (*self.record["notes"], *self.record["trouble"]) if note != self.reason]

    @property
    def checks(self) -> list[Check]:
        """Every comparison of the rule."""
        return [_check(check) for check in self.record["checks"]]

    @property
    def samples(self) -> list[Sample]:
        """Of both arms."""
        return [_sample(role, self.record[role]) for role in ("stable", "canary")]

    @property
    def actions(self) -> list[str]:
        """What was done about it."""
        return [_action(action) for action in self.record["actions"]]

    def error_rate(self, role: str) -> float | None:
        """Errors per request of one arm so far; None without requests."""
        arm = self.record[role]
        return arm["errors"] / arm["requests"] if arm["requests"] else None

    def mean_latency(self, role: str) -> float | None:
        """Milliseconds per answer of one arm so far; None without answers."""
        return _mean(self.record[role])

    def error_interval(self, role: str) -> Interval | None:
        """The 95 % interval of the error rate; None without requests."""
        arm = self.record[role]
        return share_interval(arm["errors"], arm["requests"]) if arm["requests"] else None

    def latency_interval(self, role: str) -> Interval | None:
        """The 95 % interval of the mean latency, milliseconds; None where no histogram was measured."""
        arm = self.record[role]
        mean, buckets = self.mean_latency(role), arm.get("latency_buckets")
        return mean_interval(mean, buckets) if mean is not None and buckets else None

    def limit(self, name: str) -> float | None:
        """The limit that a comparison had, as the history has it; None where it was not made."""
        made = (check for check in self.record["checks"] if check["name"] == name and check["verdict"] != "skip")
        return next((check["limit"] for check in made), None)

    @property
    def evidence(self) -> dict[str, float]:
        """Of the policy `sequential`: by claim, how far the evidence has come, where 1 takes the release back."""
        return {
            check["name"]: max(math.log(check["value"]) / math.log(check["limit"]), 0.0)
            for check in self.record["checks"]
            if check["name"] in CLAIMS and check["value"] and (check["limit"] or 0) > 1
        }


def _mean(arm: Mapping[str, Any]) -> float | None:
    return 1000 * arm["latency_sum"] / arm["latency_count"] if arm["latency_count"] else None


def _sample(role: str, arm: Mapping[str, Any]) -> Sample:
    mean, asked = _mean(arm), f"{arm['errors']:,} of {arm['requests']:,} failed"
    timed = asked if mean is None else f"{asked}, {milliseconds(mean)}"
    return Sample(role=role, words=timed if arm["requests"] else "no requests")


def _check(check: Mapping[str, Any]) -> Check:
    text, least = _text(check), check["note"] == "at least"
    return Check(
        name=check["name"],
        value="none" if check["value"] is None else text(check["value"]),
        limit="no limit" if check["limit"] is None else f"{'≥' if least else '≤'} {text(check['limit'])}",
        verdict=check["verdict"],
        sign=SIGNS.get(check["verdict"], ""),
        note="" if least else check["note"],
    )


def _text(check: Mapping[str, Any]) -> Callable[[float], str]:
    """How a check's numbers are written."""
    if check["name"] == "step duration":
        return lambda value: f"{value:.0f} s"
    return _TEXTS[check.get("unit", "number")]


def _action(action: Mapping[str, Any]) -> str:
    kind = str(action["type"])
    if kind == "SetWeight":
        return f"set weight {action['mark']['weight']}"
    if kind == "Deploy":
        return f"deploy {action['digest'][:12]} as {action['role']}"
    return f"promote {action['digest'][:12]}" if kind == "Promote" else kind
