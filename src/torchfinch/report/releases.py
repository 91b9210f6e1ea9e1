"""The part of the report on one release folder: each release in it, and every decision with its numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchfinch.errors import TorchfinchError
from torchfinch.release.local.store import read_history
from torchfinch.report.charts import Axis, Chart, Event, Series, clock_axis, draw
from torchfinch.report.decisions import TONES, Record, Turn
from torchfinch.report.reading import reading
from torchfinch.report.words import day, minutes, number, percent

OUTCOMES = {"Promoted": "promoted", "RolledBack": "rolled back"}
FAR = 3.0
"""A limit more than so many times above the highest value would flatten the line; it is named instead of drawn."""


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
    """A release folder and the releases that went through it, oldest first."""

    name: str
    releases: tuple[Release, ...]


def read_releases(folder: Path) -> Folder:
    """Read the history that a controller left in `folder`.

    Raises:
        TorchfinchError: there is none, or it is not one.
    """
    path = folder / "history.jsonl"
    if not path.is_file():
        raise TorchfinchError(f"{folder} is no release folder: it has no history.jsonl", "torchfinch canary run --help")
    with reading(path, what="history of a release", hint="torchfinch canary run --help"):
        releases = tuple(_release(records) for records in _by_release(read_history(path)))
    if not releases:
        raise TorchfinchError(f"{path} has nothing in it", "torchfinch canary run --help")
    return Folder(name=folder.resolve().name, releases=releases)


def _by_release(records: Sequence[Record]) -> list[list[Record]]:
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


def _release(records: Sequence[Record]) -> Release:
    digest = next((started for record in records if (started := _started(record))), "")
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
        turned = record["time"] >= begin and (record["weight"] != weight or record["phase"] != phase)
        count += turned
        turn = Turn(record, at=record["time"] - begin, number=count if turned else None, weight_before=weight)
        turns.append(turn)
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
    x = clock_axis([turn.at for turn in turns], text=minutes)
    both = [turn for turn in turns if turn.record["stable"]["digest"] != canary]  # promoted, the roles are changed
    charts = (
        _traffic(turns, names["canary"], x),
        _compared("Error rate", both, names, x, measure=Turn.error_rate, limit=_limit(turns, "error rate")),
        _compared("Mean latency", both, names, x, measure=Turn.mean_latency, limit=_limit(turns, "mean latency")),
    )
    return tuple(chart for chart in charts if chart)


def _traffic(turns: Sequence[Turn], canary: str, x: Axis) -> Chart | None:
    series = Series(canary, [(turn.at, turn.weight) for turn in turns], tone="canary", step=True, area=True)
    events = [Event(turn.at, turn.number, turn.tone, turn.reason) for turn in turns if turn.number is not None]
    unit = f"percent of requests sent to {canary}"
    return draw("Traffic", [series], unit=unit, x=x, x_name="time", y_top=100, events=events)


def _compared(
    title: str,
    turns: Sequence[Turn],
    names: dict[str, str],
    x: Axis,
    *,
    measure: Callable[[Turn, str], float | None],
    limit: float | None,
) -> Chart | None:
    """Both arms' value over all that they have answered so far, as the rule judges it, beside the rule's own limit."""
    latency = measure is Turn.mean_latency
    series = [
        Series(name, [(turn.at, value) for turn in turns if (value := measure(turn, role)) is not None], tone=role)
        for role, name in names.items()
    ]
    highest = max((value for one in series for _, value in one.points), default=0.0)
    unit = "all answers so far, ms" if latency else "all requests so far"
    if limit is not None:
        limit = 1000 * limit if latency else limit
        words = f"{limit:,.0f} ms" if latency else percent(limit)
        unit = f"{unit}; limit {words}"
        if not highest or limit <= FAR * highest:
            series.append(Series("limit", [(x.low, limit), (x.high, limit)], tone="bad", dashed=True))
    return draw(title, series, unit=unit, x=x, x_name="time", y_text=number if latency else percent)


def _limit(turns: Sequence[Turn], name: str) -> float | None:
    checks = (check for turn in turns for check in turn.record["checks"] if check["name"] == name)
    return next((check["limit"] for check in checks), None)
