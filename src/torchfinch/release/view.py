"""A release in a person's words: a line for a pipe, tables for a terminal."""

import time
from typing import Any

from rich.table import Table

from torchfinch.console import table
from torchfinch.release.controller import Tick
from torchfinch.release.state import Counters, State


def line(tick: Tick) -> str:
    """One turn of the controller in one line."""
    state = tick.decision.state
    step = f"step {tick.spec.step_of(state.weight)}/{len(tick.spec.steps)}"
    return f"{clock(tick.time)}  {state.phase:<12} {step}  weight {state.weight:>3}  {state.reason}"


def board(tick: Tick) -> Table:
    """One turn as a table: both versions side by side, then the checks."""
    state, seen = tick.decision.state, tick.seen
    grid = table(("", "stable", "canary", "limit", ""), [], title=line(tick))
    grid.add_row("version", seen.stable.label, seen.canary.label)
    grid.add_row("weight", str(100 - state.weight), str(state.weight))
    for name, pick in _COLUMNS.items():
        grid.add_row(name, pick(state.total.stable), pick(state.total.canary))
    for check in tick.decision.checks:
        grid.add_row(check.name, "", number(check.value), number(check.limit), _VERDICTS[check.verdict])
    for text in (*tick.decision.notes, *tick.trouble):
        grid.add_row("note", text)
    return grid


def summary(name: str, state: State, *, steps: int | None = None) -> tuple[object, ...]:
    """A release as the cells of a table: name, phase, weight, reason, age."""
    age = "" if not state.started else duration((state.ended or state.at) - state.started)
    return (name, state.phase, state.weight if steps is None else f"{state.weight} ({steps} steps)", state.reason, age)


def decision_cells(record: dict[str, Any]) -> tuple[object, ...]:
    """A line of the history as cells: when, phase, step, weight, both versions' numbers, why."""
    stable, canary = record["stable"], record["canary"]
    return (
        clock(record["time"]),
        record["phase"],
        f"{record['step']}/{record['steps']}",
        record["weight"],
        f"{canary['requests']}/{stable['requests']}",
        f"{canary['errors']}/{stable['errors']}",
        f"{_mean(canary)}/{_mean(stable)}",
        record["reason"],
    )


DECISION_COLUMNS = ("time", "phase", "step", "weight", "requests c/s", "errors c/s", "mean ms c/s", "reason")


def is_decision(record: dict[str, Any], before: dict[str, Any] | None) -> bool:
    """Whether a line of the history did something, or says something that the line before did not."""
    news = before is None or any(record[key] != before[key] for key in ("phase", "weight", "notes", "trouble"))
    return bool(record["actions"]) or news


def clock(when: float) -> str:
    """Local time of day."""
    return time.strftime("%H:%M:%S", time.localtime(when))


def duration(seconds: float) -> str:
    """Minutes and seconds, as kubectl writes ages."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def number(value: float | None) -> str:
    """Four digits that matter, or a dash."""
    return "-" if value is None else f"{value:.4g}"


def _milliseconds(counters: Counters) -> str:
    mean = counters.mean_latency
    return "-" if mean is None else f"{1000 * mean:.1f} ms"


def _mean(arm: dict[str, Any]) -> str:
    return f"{1000 * arm['latency_sum'] / arm['latency_count']:.0f}" if arm["latency_count"] else "-"


_COLUMNS = {
    "requests": lambda counters: str(counters.requests),
    "errors": lambda counters: str(counters.errors),
    "error rate": lambda counters: f"{counters.error_rate:.2%}",
    "mean latency": _milliseconds,
}
_VERDICTS = {"pass": "[green]ok[/green]", "fail": "[red]over[/red]", "hold": "[dim]wait[/dim]", "skip": "[dim]-[/dim]"}
