"""What simulated releases came to, as one SVG: a row for each scenario, a mark for each way of judging."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from torchfinch.release.simulation.simulate import Outcome
from torchfinch.release.simulation.traffic import Scenario
from torchfinch.report.render import render_page
from torchfinch.report.words import number

COLOURS = {
    "required": "#d97706",
    "sequential": "#4361ee",
    "Flagger-like": "#10865a",
    "Argo-like": "#c92a42",
    "Kayenta-like": "#7b8494",
}
_FAMILIES = {"single": "errors come singly", "batches": "errors in fours", "seconds": "errors in bad seconds"}
_FEWEST = 100
"""Canary requests before which nothing is judged."""


@dataclass(frozen=True)
class Row:
    """A scenario with its marks (colour, how far down of 5, place between 0 and 1), or a heading without any."""

    label: str
    marks: tuple[tuple[str, int, float], ...] = ()
    heading: bool = False


@dataclass(frozen=True)
class Panel:
    """Rows over one axis, from `left` on; ticks are a place between 0 and 1 and words."""

    title: str
    left: int
    width: int
    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, str], ...]
    labelled: bool = True


def simulation_chart(outcomes: Sequence[Outcome], *, caption: str) -> str:
    """An SVG of the outcomes, in their order; nothing in it comes from elsewhere."""
    equal = [each for each in outcomes if not _worse(each.scenario)]
    worse = [each for each in outcomes if _worse(each.scenario)]
    most = max(each.scenario.requests for each in outcomes)
    shares = tuple((part / 100, f"{part} %") for part in (0, 25, 50, 75, 100))
    counts = tuple((_log(count, most), number(count)) for count in (100, 200, 500, 1000, most) if count <= most)
    panels = (
        Panel("Equal versions: wrongly rolled back", 134, 220, _rows(equal, lambda each: each.back), shares),
        Panel("Worse canaries: rolled back", 514, 180, _rows(worse, lambda each: each.back), shares),
        Panel(
            "Canary requests until then",
            730,
            190,
            _rows(worse, lambda each: None if each.median is None else _log(each.median, most)),
            counts,
            labelled=False,
        ),
    )
    return render_page("simulation.svg", panels=panels, colours=COLOURS, caption=caption)


def _rows(outcomes: Sequence[Outcome], place: Callable[[Outcome], float | None]) -> tuple[Row, ...]:
    def rows() -> Iterator[Row]:
        for family, members in groupby(outcomes, key=lambda each: _family(each.scenario)):
            yield Row(family, heading=True)
            for scenario, found in groupby(members, key=lambda each: each.scenario):
                yield Row(_label(scenario), tuple(_marks(found, place)))

    return tuple(rows())


def _marks(found: Iterator[Outcome], place: Callable[[Outcome], float | None]) -> Iterator[tuple[str, int, float]]:
    for outcome in found:
        at = place(outcome)
        if at is not None:
            yield COLOURS[outcome.policy], list(COLOURS).index(outcome.policy), round(at, 4)


def _worse(scenario: Scenario) -> bool:
    return scenario.canary > scenario.stable or (scenario.latency or 1) >= 2


def _family(scenario: Scenario) -> str:
    return _FAMILIES[scenario.errors] if scenario.latency is None else "latency"


def _label(scenario: Scenario) -> str:
    if scenario.latency is not None:
        return f"x {scenario.latency:g}, weight {scenario.weight}"
    rates = [f"{100 * rate:g}" for rate in dict.fromkeys((scenario.stable, scenario.canary))]
    return f"{' → '.join(rates)} %, weight {scenario.weight}"


def _log(count: float, most: int) -> float:
    return math.log(max(count, _FEWEST) / _FEWEST) / math.log(most / _FEWEST)
