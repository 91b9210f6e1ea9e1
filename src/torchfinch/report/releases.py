"""The part of the report on one release folder: each release in it, and every decision with its numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torchfinch.errors import TorchfinchError
from torchfinch.release.history import read_history
from torchfinch.report.charts import Axis, Chart, Event, Series, clock_axis, draw
from torchfinch.report.decisions import CLAIMS, TONES, Record, Turn
from torchfinch.report.intervals import Interval
from torchfinch.report.reading import reading
from torchfinch.report.words import day, minutes, number, percent

OUTCOMES = {"Promoted": "promoted", "RolledBack": "rolled back"}
MOST_POINTS = 400
FAR = 3.0
"""A limit more than so many times above the highest value, and above the newest interval, would flatten the line; it is
named instead of drawn."""


@dataclass(frozen=True)
class Release:
    """From the offer of a canary to its end, or as far as it has come."""

    canary: str
    stable: str
    outcome: str
    tone: str
    reason: str
    began: str
    lasted: str
    charts: tuple[Chart, ...]
    turns: tuple[Turn, ...]

    @property
    def turning_points(self) -> list[Turn]:
        """The turns that changed weight or phase."""
        return [turn for turn in self.turns if turn.number is not None]


@dataclass(frozen=True)
class Folder:
    """A history of one name, and the releases that went through it, oldest first."""

    name: str
    releases: tuple[Release, ...]


def read_releases(folder: Path) -> Folder:
    """Read the history that a controller left in `folder`, which may be the file itself.

    Raises:
        TorchfinchError: there is none, or it is not one.
    """
    path = folder if folder.is_file() else folder / "history.jsonl"
    if not path.is_file():
        raise TorchfinchError(f"{folder} is no release folder: it has no history.jsonl", "torchfinch canary run --help")
    with reading(path, what="history of a release", hint="torchfinch canary run --help"):
        releases = tuple(map(release, by_release(read_history(path))))
    if not releases:
        raise TorchfinchError(f"{path} has nothing in it", "torchfinch canary run --help")
    where = folder.resolve()
    return Folder(name=where.stem if where.is_file() else where.name, releases=releases)


def by_release(records: Sequence[Record]) -> list[list[Record]]:
    """Cut the history where a canary starts; what came before the first start stays with it."""
    groups: list[list[Record]] = [[]]
    canary, phase = "", ""
    for record in records:
        started = _started(record)
        if started and (started != canary or phase in OUTCOMES):
            if canary:
                groups.append([])
            canary = started
        groups[-1].append(record)
        phase = record["phase"]
    return [group for group in groups if group]


def _started(record: Record) -> str:
    """Digest of the canary that this turn set out with, at weight 0; empty where it did not."""
    marks = [action["mark"] for action in record["actions"] if "mark" in action]
    return next((mark["canary"] for mark in marks if mark["phase"] == "Progressing" and mark["weight"] == 0), "")


def release(records: Sequence[Record], *, canary: str = "") -> Release:
    """One release, from its own records; `canary` is its digest, where they do not say how it started."""
    digest = next((started for record in records if (started := _started(record))), canary)
    turns = _turns(records, begin=next((record["time"] for record in records if _started(record)), records[0]["time"]))
    active = _active(turns)
    last = active[-1]
    names = {
        "stable": _label(active, "stable", lambda found: found not in ("", digest)) or "stable",
        "canary": _label(active, "canary", lambda found: found == digest) or digest[:12] or "canary",
    }
    return Release(
        canary=names["canary"],
        stable=names["stable"],
        outcome=OUTCOMES.get(last.phase, "under way"),
        tone=TONES.get(last.phase, "warn"),
        reason=last.reason,
        began=day(active[0].record["time"]),
        lasted=minutes(last.at),
        charts=_charts(active, names, digest),
        turns=tuple(turns),
    )


def _turns(records: Sequence[Record], *, begin: float) -> list[Turn]:
    turns: list[Turn] = []
    count, weight, phase = 0, 0, ""
    for record in records:
        turn = Turn(record, at=record["time"] - begin, number=None, weight_before=weight)
        turned = turn.at >= 0 and (turn.weight != weight or turn.phase != phase)
        count += turned
        turns.append(replace(turn, number=count) if turned else turn)
        weight, phase = turn.weight, turn.phase
    return turns


def _active(turns: Sequence[Turn]) -> list[Turn]:
    """From the start to the end: the quiet hours after it would flatten the charts."""
    begun = [turn for turn in turns if turn.at >= 0]
    end = next((place for place, turn in enumerate(begun) if turn.phase in OUTCOMES), len(begun))
    return begun[: end + 1]


def _label(turns: Sequence[Turn], role: str, wanted: Callable[[str], bool]) -> str:
    arms = [turn.record[role] for turn in turns]
    return next((arm["label"] or arm["digest"][:12] for arm in arms if wanted(arm["digest"])), "")


def _charts(turns: Sequence[Turn], names: dict[str, str], canary: str) -> tuple[Chart, ...]:
    turns = _thinned(turns)
    x = clock_axis([turn.at for turn in turns], text=minutes)
    both = [turn for turn in turns if turn.record["stable"]["digest"] != canary]  # promoted, the roles are changed
    charts = (
        _traffic(turns, names["canary"], x),
        _errors(both, names, x),
        _latencies(both, names, x),
        _evidence(both, x),
    )
    return tuple(chart for chart in charts if chart)


def _thinned(turns: Sequence[Turn]) -> list[Turn]:
    """As many as can be told apart in a chart; all that changed something among them."""
    every = -(-len(turns) // MOST_POINTS)
    return [turn for place, turn in enumerate(turns) if turn.number or not (len(turns) - 1 - place) % every]


def _traffic(turns: Sequence[Turn], canary: str, x: Axis) -> Chart | None:
    series = Series(canary, [(turn.at, turn.weight) for turn in turns], tone="canary", step=True, area=True)
    events = [Event(turn.at, turn.number, turn.tone, turn.reason) for turn in turns if turn.number is not None]
    unit = f"percent of requests sent to {canary}"
    return draw("Traffic", [series], unit=unit, x=x, x_name="time", y_top=100, events=events)


def _errors(turns: Sequence[Turn], names: dict[str, str], x: Axis) -> Chart | None:
    """Both error rates over all requests so far, as the rule judges them, with their intervals and its limits."""
    arms = [_arm(turns, role, name, Turn.error_rate, Turn.error_interval) for role, name in names.items()]
    return _limited("Error rate", arms, _limits(turns, "error rate"), x, unit="all requests so far", text=percent)


def _latencies(turns: Sequence[Turn], names: dict[str, str], x: Axis) -> Chart | None:
    """Both mean latencies over all answers so far."""
    arms = [_arm(turns, role, name, Turn.mean_latency, Turn.latency_interval) for role, name in names.items()]
    limits = _limits(turns, "mean latency", scale=1000.0)
    return _limited("Mean latency", arms, limits, x, unit="ms, all answers so far", text=number)


def _arm(
    turns: Sequence[Turn],
    role: str,
    name: str,
    measure: Callable[[Turn, str], float | None],
    interval: Callable[[Turn, str], Interval | None],
) -> Series:
    points = [(turn.at, value) for turn in turns if (value := measure(turn, role)) is not None]
    band = [(turn.at, *ends) for turn in turns if (ends := interval(turn, role)) is not None]
    return Series(name, points, tone=role, band=band)


def _limits(turns: Sequence[Turn], check: str, *, scale: float = 1.0) -> list[Series]:
    """The fixed limit of a check and the one against stable, each as it applied at every look."""
    series = []
    for against, tone in (("", "bad"), (" against stable", "stable")):
        points = [(turn.at, scale * limit) for turn in turns if (limit := turn.limit(f"{check}{against}")) is not None]
        series.append(Series(f"limit{against}", points, tone=tone, step=True, dashed=True))
    return [one for one in series if one.points]


def _limited(
    title: str, arms: list[Series], limits: list[Series], x: Axis, *, unit: str, text: Callable[[float], str]
) -> Chart | None:
    """A chart of both arms, as high as their values and newest intervals need, with the limits that fit in."""
    highest = _highest(arms)
    newest = max((one.band[-1][2] for one in arms if one.band), default=0.0)
    drawn = [one for one in limits if not highest or _highest([one]) <= max(FAR * highest, newest)]
    stated = [f"{one.name} {text(one.points[-1][1])}" for one in limits]
    bands = ["bands: 95 % intervals"] if any(one.band for one in arms) else []
    top = max(_highest([*arms, *drawn]), newest) or None
    said = "; ".join([unit, *stated, *bands])
    return draw(title, [*arms, *drawn], unit=said, x=x, x_name="time", y_text=text, y_top=top)


def _highest(series: Sequence[Series]) -> float:
    return max((value for one in series for _, value in one.points), default=0.0)


def _evidence(turns: Sequence[Turn], x: Axis) -> Chart | None:
    """What speaks against the canary under the policy `sequential`, on a scale on which 1 is enough for each claim."""
    gathered = [(turn.at, turn.evidence) for turn in turns]
    series = [
        Series(claim, [(at, evidence[claim]) for at, evidence in gathered if claim in evidence], tone=tone)
        for claim, tone in zip(CLAIMS, ("bad", "canary", "warn", "quiet"), strict=True)
    ]
    if not any(one.points for one in series):
        return None
    series.append(Series("enough", [(x.low, 1.0), (x.high, 1.0)], tone="bad", dashed=True))
    top = max(1.25, *(value for one in series for _, value in one.points))
    return draw("Evidence", series, unit="log of the odds, 1 takes it back", x=x, x_name="time", y_top=top)
