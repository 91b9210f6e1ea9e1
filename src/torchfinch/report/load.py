"""The part of the report on one load test."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchfinch.loadtest import Numbers, Summary, phrase, read_summary
from torchfinch.report.charts import Chart, Series, clock_axis, draw
from torchfinch.report.reading import reading
from torchfinch.report.words import milliseconds, minutes, percent

PERCENTILES = ("p50", "p95", "p99")


@dataclass(frozen=True)
class Bar:
    """A latency; `width` in percent of the longest one shown."""

    name: str
    value: str
    width: float


@dataclass(frozen=True)
class Load:
    """A load test, read and put in words."""

    name: str
    summary: Summary
    bars: tuple[tuple[str, tuple[Bar, ...]], ...]
    rows: tuple[tuple[str, ...], ...]
    limits: tuple[tuple[str, str, str, bool], ...]
    charts: tuple[Chart, ...]

    @property
    def headline(self) -> str:
        """The latency that 95 % of the answers kept."""
        return milliseconds(self.summary.total.p95)

    @property
    def error_rate(self) -> str:
        """Of all requests."""
        return percent(self.summary.total.error_rate)


def read_load(folder: Path) -> Load:
    """Read what `torchfinch loadtest` left in `folder`.

    Raises:
        TorchfinchError: it holds no load test.
    """
    summary, history = read_summary(folder), folder / "history.csv"
    with reading(history, what="history of a load test", hint="run torchfinch loadtest again"):
        charts = _over_time(history)
    groups = {"all answers": summary.total} if len(summary.versions) != 1 else {}
    groups |= {f"version {version}": numbers for version, numbers in summary.versions.items()}
    return Load(
        name=folder.resolve().name,
        summary=summary,
        bars=_bars(groups),
        rows=tuple(_row(name, numbers) for name, numbers in groups.items()),
        limits=tuple(
            (verdict.name, phrase(verdict.name, verdict.value), phrase(verdict.name, verdict.limit), verdict.ok)
            for verdict in summary.limits
        ),
        charts=charts,
    )


def _bars(groups: Mapping[str, Numbers]) -> tuple[tuple[str, tuple[Bar, ...]], ...]:
    longest = max((numbers.p99 for numbers in groups.values()), default=0.0) or 1.0
    return tuple((name, tuple(_bar(numbers, key, longest) for key in PERCENTILES)) for name, numbers in groups.items())


def _bar(numbers: Numbers, key: str, longest: float) -> Bar:
    value = float(getattr(numbers, key))
    return Bar(key, milliseconds(value), round(100 * value / longest, 1))


def _row(name: str, numbers: Numbers) -> tuple[str, ...]:
    latencies = (milliseconds(value) for value in (numbers.mean, numbers.p50, numbers.p95, numbers.p99))
    counts = (f"{numbers.requests:,}", f"{numbers.failures:,}", percent(numbers.error_rate))
    return (name, *counts, f"{numbers.throughput:.1f}", *latencies)


def _over_time(path: Path) -> tuple[Chart, ...]:
    """Throughput and latency second by second, from the rows that locust keeps of all requests together."""
    if not path.exists():
        return ()
    with path.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row.get("Name") == "Aggregated"]
    if len(rows) < 3:
        return ()
    begin = float(rows[0]["Timestamp"])
    times = [float(row["Timestamp"]) - begin for row in rows]
    x = clock_axis(times, text=minutes)
    rate = Series("requests", _rate(times, rows), tone="accent", area=True)
    latencies = [_percentile(name, times, rows, tone=tone) for name, tone in (("p50", "quiet"), ("p95", "accent"))]
    charts = (
        draw("Throughput", [rate], unit="requests per second", x=x, x_name="time"),
        draw("Latency", latencies, unit="of the last 10 s, in milliseconds", x=x, x_name="time"),
    )
    return tuple(chart for chart in charts if chart)


def _rate(times: Sequence[float], rows: Sequence[Mapping[str, str]]) -> list[tuple[float, float]]:
    counts = [float(row["Total Request Count"]) for row in rows]
    pairs = zip(times, times[1:], counts, counts[1:], strict=False)
    return [(now, (after - before) / (now - then)) for then, now, before, after in pairs if now > then]


def _percentile(name: str, times: Sequence[float], rows: Sequence[Mapping[str, str]], *, tone: str) -> Series:
    column = f"{name[1:]}%"
    known = [
        (at, float(row[column])) for at, row in zip(times, rows, strict=True) if row[column] not in ("N/A", "0", "")
    ]
    return Series(name, known, tone=tone)
