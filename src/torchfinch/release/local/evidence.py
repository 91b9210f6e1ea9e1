"""Evidence of one machine: what Envoy counted for both versions. It sees every answer, and every missing one."""

import math
import time
from contextlib import suppress
from dataclasses import replace

from torchfinch.errors import TorchfinchError
from torchfinch.release.exposition import samples
from torchfinch.release.local.router import EnvoyRouter
from torchfinch.release.local.slots import SLOTS, Slot
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.predicted import predicted
from torchfinch.release.state import LATENCY_EDGES, Counters, Reading
from torchfinch.serving.process import started_at

_PREFIX = "envoy_cluster_"
_PARTS = ("envoy_response_code", "envoy_response_code_class", "le")
Counted = dict[tuple[str, str, str], float]


def _edge(milliseconds: float) -> str:
    return f"{milliseconds:.6g}"


_EDGES = tuple(_edge(1000 * edge) for edge in (*LATENCY_EDGES, math.inf))


class EnvoyEvidence:
    """Counts of both versions from the statistics of the router's Envoy."""

    def __init__(self, router: EnvoyRouter) -> None:
        self._router = router
        self._predicted: dict[Slot, tuple[tuple[int, ...], tuple[int, ...]]] = {}

    def read(self, spec: Spec) -> Reading:  # noqa: ARG002  the protocol's
        """Cumulative counters since Envoy's start."""
        process = self._router.envoy.process
        if process is None:
            raise TorchfinchError("Envoy is not running, so there are no measurements")
        table = self._router.table()
        for slot in SLOTS:  # a server that does not tell its predictions has told nothing new: its errors Envoy knows
            with suppress(TorchfinchError):
                self._predicted[slot] = predicted(samples(self._router.metrics(slot)))
        counted = _samples(self._router.envoy.statistics())
        source = f"{process.pid}-{started_at(process.pid)}"
        return Reading(
            at=time.time(),
            stable={source: self._counters(counted, table.slot("stable"))},
            canary={source: self._counters(counted, table.slot("canary"))},
        )

    def _counters(self, counted: Counted, slot: Slot) -> Counters:
        classes, confidences = self._predicted.get(slot, ((), ()))
        return replace(_of_envoy(counted, slot), classes=classes, confidences=confidences)


def _of_envoy(counted: Counted, slot: str) -> Counters:
    """One slot's counts.

    Envoy counts an answer that was cut off amid its body, or timed out there, by the status it began with. Such an
    answer is a protocol error beyond those that became 502, or a timeout beyond those that became 504.
    """

    def count(name: str, label: str = "") -> int:
        return int(counted.get((name, slot, label), 0))

    cut = max(count("upstream_cx_protocol_error") - count("upstream_rq", "502"), 0)
    cut += max(count("upstream_rq_timeout") - count("upstream_rq", "504"), 0)
    return Counters(
        requests=count("upstream_rq_completed"),
        errors=count("upstream_rq_xx", "5") + cut,
        client_errors=count("upstream_rq_xx", "4"),
        latency_sum=counted.get(("upstream_rq_time_sum", slot, ""), 0.0) / 1000,
        latency_count=count("upstream_rq_time_count"),
        latency_buckets=tuple(count("upstream_rq_time_bucket", edge) for edge in _EDGES),
    )


def _samples(text: str) -> Counted:
    """Values by name, slot, and status, class of status or upper edge (empty for none of them)."""
    found = {}
    for sample in samples(text):
        labels = sample.labels
        if not sample.name.startswith(_PREFIX):
            continue
        if "le" in labels:  # Envoy writes 1.2 as 1.1999999999999999555910790149937
            labels["le"] = _edge(float(labels["le"]))
        part = next((labels[key] for key in _PARTS if key in labels), "")
        found[sample.name.removeprefix(_PREFIX), labels.get("envoy_cluster_name", ""), part] = sample.value
    return found
