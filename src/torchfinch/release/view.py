"""A release in a person's words: a line for a pipe, tables for a terminal. Lines of the history say all of it."""

import re
import time
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.text import Text

from torchfinch.console import table
from torchfinch.release.controller import Tick
from torchfinch.release.decision.rules import shown
from torchfinch.release.simulation.replay import Look, Rejudged
from torchfinch.release.state import Phase, State

Record = dict[str, Any]

_NUMBERS = ("requests c/s", "errors c/s", "mean ms c/s")
SUMMARY_COLUMNS = ("name", "phase", "step", "weight", "canary", *_NUMBERS, "age", "reason")
DECISION_COLUMNS = ("time", "phase", "step", "weight", *_NUMBERS, "reason")
REJUDGED_COLUMNS = ("time", "looks", "weight", *_NUMBERS, "recorded", "replayed", "because")
_URL = re.compile(r"https?://[^\s,;]*[^\s,;:.]")
_NUMBER = re.compile(r"[\d.]+")
_VERDICTS = {
    "pass": Text("ok", "green"),
    "fail": Text("over", "red"),
    "hold": Text("wait", "dim"),
    "skip": Text("-", "dim"),
}


def line(tick: Tick) -> str:
    """One turn of the controller in one line."""
    state = tick.decision.state
    step = f"step {tick.spec.step_of(state.weight)}/{len(tick.spec.steps)}"
    return f"{clock(tick.time)}  {state.phase:<12} {step}  weight {state.weight:>3}  {state.reason}"


def board(record: Record, *notes: str) -> Group:
    """A line of the history as a table: both versions side by side, then the checks with their limits."""
    stable, canary = record["stable"], record["canary"]
    title = f"{record['phase']}  step {record['step']}/{record['steps']}  {escape(record['reason'])}"
    rows: list[tuple[object, ...]] = [
        ("version", stable["label"], canary["label"]),
        ("weight", 100 - record["weight"], record["weight"]),
        *((name, stable[name], canary[name]) for name in ("requests", "errors")),
        ("mean ms", _mean(stable), _mean(canary)),
    ]
    for check in record["checks"]:
        value, limit = (shown(check[key], check.get("unit", "number")) for key in ("value", "limit"))
        rows.append((check["name"], "", value, limit, _VERDICTS[check["verdict"]]))
    grid = table(("", "stable", "canary", "limit", ""), rows)
    news = dict.fromkeys((*record["notes"], *record["trouble"], *notes))
    news.pop(record["reason"], None)
    return Group(title, grid, *map(escape, news))


def summary(name: str, state: State, record: Record | None) -> tuple[object, ...]:
    """Where a release stands as cells of `SUMMARY_COLUMNS`; numbers are those of the newest line of its history."""
    age = "" if not state.started else duration((state.ended or state.at) - state.started)
    seen = ("", "", "", "")
    step = ""
    if record:
        label = _as_judged(record)["canary"]["label"]
        seen = (label if state.canary else "", *_numbers(record))
        step = f"{record['step']}/{record['steps']}" if record["steps"] else ""
    return (name, state.phase, step, state.weight, *seen, age, state.reason)


def decision_cells(record: Record) -> tuple[object, ...]:
    """A line of the history as cells of `DECISION_COLUMNS`."""
    step = f"{record['step']}/{record['steps']}"
    why = "; ".join(dict.fromkeys([record["reason"], *record["notes"], *record["trouble"]]))
    return (clock(record["time"]), record["phase"], step, record["weight"], *_numbers(record), why)


def rejudged_rows(rejudged: Rejudged) -> Iterator[tuple[object, ...]]:
    """The looks at which two rules differ as cells of `REJUDGED_COLUMNS`, a row for each change of what they say."""
    for (then, now), group in groupby(rejudged.differing, key=lambda look: (look.then, look.now)):
        looks = list(group)
        first, record = looks[0], looks[0].record
        why = first.decision.state.reason
        yield (clock(record["time"]), len(looks), first.weight, *_numbers(record), then, now, why)


def rejudged_line(rejudged: Rejudged) -> str:
    """What another rule makes of a recorded release, in one sentence."""
    recorded = {"Promoted": "promoted", "RollingBack": "rolled back", "RolledBack": "rolled back"}
    outcome = f"{rejudged.canary} was {recorded.get(rejudged.outcome, 'under way when the record ends')}"
    last = rejudged.looks[-1]
    if rejudged.back:
        return f"{outcome}; replayed, it is taken back {_where(last)}: {last.decision.state.reason}"
    if last.then == "back":
        return f"{outcome}; replayed, it is not {_where(last)}: {last.decision.state.reason}"
    held = sum(look.then == "forward" for look in rejudged.differing)
    return f"{outcome}; replayed, it is not taken back" + (f", but held at {held} looks that led on" if held else "")


def is_decision(record: Record, before: Record | None) -> bool:
    """Whether a line of the history did something, or says something that the line before did not."""
    if before is None or any(record[key] != before[key] for key in ("phase", "weight")):
        return True
    if subjects(record["trouble"]) != subjects(before["trouble"]):
        return True
    if record["notes"] and record["notes"] != before["notes"]:
        return True
    return bool(record["actions"]) and record["actions"] != before["actions"]  # one that goes on is no new decision


def subjects(trouble: Iterable[str]) -> frozenset[str]:
    """What is in trouble: the server where one is named, else the words without numbers; how it fails often changes."""
    named = ((_URL.search(text), text) for text in trouble)
    return frozenset(_NUMBER.sub("", found.group() if found else text) for found, text in named)


def clock(when: float) -> str:
    """Local time of day, with the date where that is not today."""
    then, now = time.localtime(when), time.localtime()
    return time.strftime("%H:%M:%S" if then[:3] == now[:3] else "%Y-%m-%d %H:%M:%S", then)


def duration(seconds: float) -> str:
    """Minutes and seconds, as kubectl writes ages."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _where(look: Look) -> str:
    record = look.record
    return f"at {clock(record['time'])} after {record['canary']['requests']} canary requests"


def _as_judged(record: Record) -> Record:
    """A line with the versions in the roles in which they were compared, which a promotion changes."""
    promoted = record["phase"] == Phase.PROMOTED
    return {**record, "stable": record["canary"], "canary": record["stable"]} if promoted else record


def _numbers(record: Record) -> tuple[str, str, str]:
    record = _as_judged(record)
    stable, canary = record["stable"], record["canary"]
    return (
        f"{canary['requests']}/{stable['requests']}",
        f"{canary['errors']}/{stable['errors']}",
        f"{_mean(canary)}/{_mean(stable)}",
    )


def _mean(arm: Record) -> str:
    return f"{1000 * arm['latency_sum'] / arm['latency_count']:.1f}" if arm["latency_count"] else "-"
