"""Counters of one worker, added up here and written to TorchServe at most once a second.

TorchServe reads metrics as lines on the worker's standard output and parses each, so a line per observation would
cost more than the inference of a small model. Histograms are counters labelled `le`, as Prometheus stores them.
"""

import math
import socket
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from typing import TextIO

SECONDS = (*(float(f"{0.001 * 1.2**step:.4g}") for step in range(51)), 10.0)
"""Upper edges of the latency histograms, seconds: a factor 1.2 apart from 1 ms to 10 s."""
CONFIDENCE = tuple(edge / 20 for edge in range(1, 21))
"""Upper edges of the confidence histogram."""

_Labels = tuple[tuple[str, str], ...]
_Series = tuple[str, _Labels]


class Metrics:
    """Counters by name and labels, written to `stream`; every series carries the model and its version."""

    def __init__(self, *, model: str, version: str, stream: TextIO | None = None, interval: float = 1.0) -> None:
        self._base = {"model": model, "version": version}
        self._stream = stream
        self._interval = interval
        self._counts: dict[_Series, float] = {}
        self._buckets: dict[_Series, dict[float, int]] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._zero()
        if stream is not None:
            threading.Thread(target=self._write_regularly, name="torchfinch-metrics", daemon=True).start()

    def count(self, name: str, labels: Mapping[str, str]) -> None:
        """Add one to a counter."""
        with self._lock:
            self._add(name, 1, labels)
        self._wake.set()

    def observe(self, name: str, value: float, edges: tuple[float, ...], labels: Mapping[str, str]) -> None:
        """Add one value to a histogram: its buckets, its count and its sum."""
        place = bisect_left(edges, value)
        with self._lock:
            buckets = self._buckets.setdefault(self._series(name, labels), dict.fromkeys((*edges, math.inf), 0))
            buckets[edges[place] if place < len(edges) else math.inf] += 1
            self._add(f"{name}_sum", value, labels)
        self._wake.set()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Observe how long a block takes as `torchfinch_stage_seconds{stage=name}`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.observe("torchfinch_stage_seconds", time.perf_counter() - start, SECONDS, {"stage": name})

    def write(self) -> None:
        """Write what was added since the last call, one line per series."""
        with self._lock:
            counts, self._counts = self._counts, {}
            histograms, self._buckets = self._buckets, {}
        for (name, labels), buckets in histograms.items():
            counts |= _cumulated(name, labels, buckets)
        host, now = socket.gethostname(), int(time.time())
        lines = [
            f"[METRICS]{name}.count:{amount:.6f}|#{_dimensions(labels)}|#type:COUNTER|#hostname:{host},{now}\n"
            for (name, labels), amount in counts.items()
        ]
        if lines and self._stream is not None:
            self._stream.write("".join(lines))
            self._stream.flush()

    def _add(self, name: str, amount: float, labels: Mapping[str, str]) -> None:
        series = self._series(name, labels)
        self._counts[series] = self._counts.get(series, 0.0) + amount

    def _series(self, name: str, labels: Mapping[str, str]) -> _Series:
        return name, tuple({**self._base, **labels}.items())

    def _zero(self) -> None:
        # A counter that first appears with its first increment hides that increment from rate().
        for code in ("200", "400", "413", "415", "422", "500", "503"):
            self._add("torchfinch_requests_total", 0, {"code": code})

    def _write_regularly(self) -> None:
        while True:
            self.write()
            time.sleep(self._interval)
            self._wake.wait()
            self._wake.clear()


def _cumulated(name: str, labels: _Labels, buckets: Mapping[float, int]) -> dict[_Series, float]:
    """A histogram as Prometheus has it: in each bucket also what the ones below hold, empty ones left out."""
    totals = zip(buckets, accumulate(buckets.values()), strict=True)
    edges = {f"{edge:g}" if edge < math.inf else "+Inf": float(total) for edge, total in totals if total}
    found = {(f"{name}_bucket", (*labels, ("le", edge))): total for edge, total in edges.items()}
    return {**found, (f"{name}_count", labels): edges["+Inf"]}


def _dimensions(labels: _Labels) -> str:
    # TorchServe splits at these characters and knows no way to quote them
    table = str.maketrans(",:|#\n", "     ")
    return ",".join(f"{name}:{value.translate(table)}" for name, value in labels)
