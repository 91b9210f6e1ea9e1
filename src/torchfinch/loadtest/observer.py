"""Loaded by locust beside the locustfile: what locust measures, as one JSON line per second on stdout.

The last line is written after the last answer and is the result; `torchfinch.loadtest` reads the lines and never
imports locust itself, since that patches the process it is imported into. Run by locust alone.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import gevent
from locust import events, stats
from locust.env import Environment
from locust.html import get_html_report
from locust.runners import WorkerRunner

REASONS = 50


def three_digits(milliseconds: float) -> float:
    """Locust keeps two digits and no fraction of a millisecond: too coarse for a model that answers in three."""
    return float(f"{milliseconds:.3g}")


stats.bucket_response_time = three_digits  # type: ignore[assignment]


@events.init_command_line_parser.add_listener
def _add_option(parser: Any) -> None:
    parser.add_argument("--observer-folder", default="", help="Folder for stats.csv and report.html")


@events.init.add_listener
def _observe(environment: Environment, **_: Any) -> None:
    if isinstance(environment.runner, WorkerRunner):
        return
    gevent.get_hub().loop.update_now()  # else the run time counts from the start of the imports
    gevent.spawn(_tell_every_second, environment)

    @events.quit.add_listener
    def finish(**_: Any) -> None:
        _write_files(environment)
        _tell(environment, final=True)


def _tell_every_second(environment: Environment) -> None:
    try:
        while True:
            gevent.sleep(1)
            _tell(environment, final=False)
    except BrokenPipeError:  # whoever started this test is gone: nobody would stop it
        if environment.runner:
            environment.runner.quit()


def _tell(environment: Environment, *, final: bool) -> None:
    everything = environment.stats
    tick = {
        "torchfinch": "final" if final else "tick",
        "seconds": (everything.last_request_timestamp or everything.start_time) - everything.start_time,
        "total": _numbers(everything.total),
        "entries": {entry.name: _numbers(entry) for entry in everything.entries.values()},
        "reasons": [
            {"name": error.name, "reason": str(error.error), "count": error.occurrences}
            for error in sorted(everything.errors.values(), key=lambda error: -error.occurrences)[:REASONS]
        ],
        "exceptions": [caught["msg"] for caught in environment.runner.exceptions.values()]
        if environment.runner
        else [],
    }
    sys.stdout.write(json.dumps(tick) + "\n")
    sys.stdout.flush()


def _numbers(entry: stats.StatsEntry) -> dict[str, float]:
    return {
        "requests": entry.num_requests,
        "failures": entry.num_failures,
        "throughput": entry.total_rps - entry.total_fail_per_sec,
        "p50": entry.get_response_time_percentile(0.5),
        "p95": entry.get_response_time_percentile(0.95),
        "p99": entry.get_response_time_percentile(0.99),
        "mean": entry.avg_response_time,
    }


def _write_files(environment: Environment) -> None:
    """Locust's own table and page, as of the last answer.

    Its `--csv` is up to a second older, and on SIGTERM its `--html` writes nothing.
    """
    if environment.parsed_options and environment.parsed_options.observer_folder:
        folder = Path(environment.parsed_options.observer_folder)
        with (folder / "stats.csv").open("w", newline="", encoding="utf-8") as stream:
            stats.StatsCSV(environment, stats.PERCENTILES_TO_REPORT).requests_csv(csv.writer(stream))
        page = get_html_report(environment, show_download_link=False)
        (folder / "report.html").write_text(page, encoding="utf-8")
