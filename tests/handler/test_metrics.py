"""Metrics as TorchServe reads them from a worker's standard output."""

import io
import itertools
import re
import time

from waiting import within

from torchfinch.handler.metrics import SECONDS, Metrics

# TorchServe's own pattern for a metric line (org.pytorch.serve.metrics.Metric)
LINE = re.compile(
    r"\[METRICS]\s*([\w\s]+)\.([\w\s]+):([0-9\-,.e]+)\|#([^|]*)(\|#type:([^|,]+))?\|#hostname:([^,]+),([^,]+)(,(.*))?"
)


def lines(stream: io.StringIO) -> dict[tuple[str, str], float]:
    """Written values by name and labels, each line checked against the pattern."""
    found = {}
    for line in stream.getvalue().splitlines():
        match = LINE.fullmatch(line)
        assert match, line
        found[match[1], match[4]] = float(match[3])
    return found


def test_edges_are_a_factor_of_a_fifth_apart_from_a_millisecond_to_ten_seconds() -> None:
    assert (SECONDS[0], SECONDS[-1]) == (0.001, 10.0)
    ratios = [high / low for low, high in itertools.pairwise(SECONDS[:-1])]
    assert all(abs(ratio - 1.2) < 0.01 for ratio in ratios)


def test_a_histogram_counts_every_bucket_at_and_above_the_value() -> None:
    metrics = Metrics(model="m", version="1")
    metrics._stream = stream = io.StringIO()  # no writing thread
    metrics.observe("seconds", 0.5, (0.1, 0.5, 1.0), {"stage": "decode"})
    metrics.observe("seconds", 0.7, (0.1, 0.5, 1.0), {"stage": "decode"})
    metrics.write()

    found = lines(stream)
    labels = "model:m,version:1,stage:decode"
    assert ("seconds_bucket", f"{labels},le:0.1") not in found
    assert found["seconds_bucket", f"{labels},le:0.5"] == 1
    assert found["seconds_bucket", f"{labels},le:1"] == 2
    assert found["seconds_bucket", f"{labels},le:+Inf"] == 2
    assert found["seconds_count", labels] == 2
    assert found["seconds_sum", labels] == 1.2


def test_counts_are_written_together_and_once() -> None:
    stream = io.StringIO()
    metrics = Metrics(model="m", version="1", stream=stream, interval=0.05)
    for _ in range(1000):
        metrics.count("torchfinch_requests_total", {"code": "200"})

    def total() -> float:
        found = map(LINE.fullmatch, stream.getvalue().splitlines())
        return sum(float(each[3]) for each in found if each and "code:200" in each[4])

    assert within(10, lambda: total() == 1000)
    time.sleep(0.2)
    assert total() == 1000
    assert stream.getvalue().count("code:200") < 10


def test_counters_are_written_as_zeros_before_the_first_request() -> None:
    stream = io.StringIO()
    Metrics(model="m", version="1", stream=stream)

    assert within(10, lambda: stream.getvalue().endswith("\n"))
    found = lines(stream)
    assert set(found.values()) == {0}
    assert {("torchfinch_requests_total", f"model:m,version:1,code:{code}") for code in (200, 400, 500)} <= set(found)


def test_labels_cannot_break_a_line() -> None:
    metrics = Metrics(model="a,b|c#d:e", version="1")
    metrics._stream = stream = io.StringIO()
    metrics.count("requests", {"code": "2\n00"})
    metrics.write()

    assert ("requests", "model:a b c d e,version:1,code:2 00") in lines(stream)
