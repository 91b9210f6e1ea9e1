"""Line charts as plain numbers: where a line, a tick or a mark lies, in percent of the plot's width and height.

The template draws the lines as SVG that stretches and the words as HTML beside it, so that a chart fits any width
while its text keeps its size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torchfinch.report.words import number

Point = tuple[float, float]
Format = Callable[[float], str]
MOST_DOTS = 30
MARK_WIDTH = 7.0
"""Percent of a narrow chart that an event's number takes."""
CLOCK_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


@dataclass(frozen=True)
class Series:
    """Values to draw; `tone` is a colour of the style sheet, `step` keeps a value until the next one.

    `cloud` leaves out the line between them.
    """

    name: str
    points: Sequence[Point]
    tone: str
    step: bool = False
    area: bool = False
    dashed: bool = False
    cloud: bool = False
    band: Sequence[tuple[float, float, float]] = ()
    """An interval around the values: where, its low end, its high end."""


@dataclass(frozen=True)
class Event:
    """Something that happened at `at`, to be marked with its number; `tone` as in `Series`."""

    at: float
    number: int
    tone: str
    words: str


@dataclass(frozen=True)
class Axis:
    """From the first to the last of `ticks`, or as far as `low` and `high`."""

    low: float
    high: float
    ticks: tuple[float, ...]
    text: Format = number

    def place(self, value: float) -> float:
        """Where `value` lies, in percent of the axis."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    @property
    def labels(self) -> list[tuple[float, str]]:
        """Place and text of every tick."""
        return [(self.place(tick), self.text(tick)) for tick in self.ticks]


@dataclass(frozen=True)
class Chart:
    """Series over a common pair of axes; `unit` is said in the caption."""

    title: str
    unit: str
    series: tuple[Series, ...]
    x: Axis
    y: Axis
    x_name: str
    events: tuple[Event, ...] = field(default=())

    @property
    def words(self) -> str:
        """What is to be seen, for those who do not see it."""
        ends = [
            f"{one.name} from {self.y.text(one.points[0][1])} to {self.y.text(one.points[-1][1])}"
            for one in self.series
        ]
        return f"{self.title} ({self.unit}) by {self.x_name}: {', '.join(ends)}"

    @property
    def marks(self) -> list[tuple[float, int, Event]]:
        """Place and level of each event; events too close to stand side by side are put above each other."""
        ends: list[float] = []
        marks = []
        for event in self.events:
            place = self.x.place(event.at)
            level = next((level for level, end in enumerate(ends) if place - end >= MARK_WIDTH), len(ends))
            ends[level : level + 1] = [place]
            marks.append((place, level, event))
        return marks

    def path(self, one: Series) -> str:
        """SVG path in a square of 100 by 100 whose origin is the top left."""
        places = [(self.x.place(at), round(100 - self.y.place(value), 2)) for at, value in one.points]
        if one.cloud:
            return "".join(f"M{left:g} {top:g}h0" for left, top in places)
        if not one.step:
            return "M" + "L".join(f"{left:g} {top:g}" for left, top in places)
        (left, top), rest = places[0], places[1:]
        return f"M{left:g} {top:g}" + "".join(f"H{left:g}V{top:g}" for left, top in rest)

    def area(self, one: Series) -> str:
        """The path, closed along the bottom."""
        first, last = (self.x.place(point[0]) for point in (one.points[0], one.points[-1]))
        return f"{self.path(one)}L{last:g} 100L{first:g} 100Z"

    def band(self, one: Series) -> str:
        """The path around the series' band, cut off where the chart ends."""
        ends = [(at, high) for at, _, high in one.band] + [(at, low) for at, low, _ in reversed(one.band)]
        inside = [(at, min(max(end, self.y.low), self.y.high)) for at, end in ends]
        places = [(self.x.place(at), round(100 - self.y.place(end), 2)) for at, end in inside]
        return "M" + "L".join(f"{left:g} {top:g}" for left, top in places) + "Z"

    def dots(self, one: Series) -> list[tuple[float, float, str]]:
        """Left, bottom and description of each value, where they are few enough to be told apart."""
        if one.dashed or one.step or one.cloud or len(one.points) > MOST_DOTS:
            return []
        return [
            (self.x.place(at), self.y.place(value), f"{one.name} {self.y.text(value)}, {self.x_name} {self.x.text(at)}")
            for at, value in one.points
        ]


def draw(
    title: str,
    series: Sequence[Series],
    *,
    unit: str,
    x: Axis,
    x_name: str,
    y_text: Format = number,
    y_from_zero: bool = True,
    y_top: float | None = None,
    events: Sequence[Event] = (),
) -> Chart | None:
    """A chart of the series that have points; None when none has. `y_top` ends the vertical axis there."""
    drawn = tuple(one for one in series if one.points)
    if not drawn:
        return None
    values = [value for one in drawn for _, value in one.points]
    low, high = 0.0 if y_from_zero else min(values), max(values) if y_top is None else y_top
    steps = round_ticks(low, high)
    y = Axis(low=steps[0], high=steps[-1], ticks=steps, text=y_text)
    return Chart(title=title, unit=unit, series=drawn, x=x, y=y, x_name=x_name, events=tuple(events))


def axis(values: Sequence[float], *, whole: bool = False, text: Format = number) -> Axis:
    """A horizontal axis as long as the values, its ticks whole numbers where they are counts."""
    low, high = _ends(values)
    inside = [tick for tick in round_ticks(low, high, least=1.0 if whole else 0.0) if low <= tick <= high]
    return Axis(low=low, high=high, ticks=tuple(inside), text=text)


def clock_axis(values: Sequence[float], *, text: Format) -> Axis:
    """A horizontal axis of seconds; few ticks, for a narrow screen."""
    low, high = _ends(values)
    step = next((step for step in CLOCK_STEPS if step >= (high - low) / 5), 86400 * math.ceil((high - low) / 432000))
    ticks = range(math.ceil(low / step) * step, math.floor(high) + 1, step)
    return Axis(low=low, high=high, ticks=tuple(map(float, ticks)), text=text)


def round_ticks(low: float, high: float, *, least: float = 0.0) -> tuple[float, ...]:
    """Three to six round values that hold `low` and `high` between them, at least `least` apart."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = max(next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= span / 4 * 0.999), least)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(count * step, 12) for count in range(first, max(last, first + 1) + 1))


def _ends(values: Sequence[float]) -> Point:
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if high > low else (low, low + 1.0)
