"""Evidence of a cluster: what TorchServe and the handler SDK count in every pod, read there or from Prometheus.

Errors are TorchServe's own answers of class 5xx: a dead worker's 500 and a full queue's 503 never reach a handler.
Latency is the handler's where the SDK tells it, else TorchServe's.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from torchfinch.errors import TorchfinchError
from torchfinch.release.cluster.fetcher import Fetcher, deadline
from torchfinch.release.cluster.workloads import Endpoints
from torchfinch.release.decision.baseline import with_baseline
from torchfinch.release.exposition import Sample, samples
from torchfinch.release.manifest.spec import Measurements, Spec
from torchfinch.release.predicted import NAMES as _PREDICTED
from torchfinch.release.predicted import predicted
from torchfinch.release.state import LATENCY_EDGES, Counters, Reading, Role

_NAMES = (
    "ts_inference_requests_total", "ts_inference_latency_microseconds", "Requests2XX", "Requests4XX", "Requests5XX",
    "torchfinch_stage_seconds_sum", "torchfinch_stage_seconds_count", "torchfinch_stage_seconds_bucket",
)  # fmt: skip
_ALWAYS = ("ts_inference_requests_total", "Requests2XX")
"""Samples that a pod has from its first request or probe on."""
Addresses = Mapping[Role, Mapping[str, str]]


class ClusterEvidence:
    """Counters of the pods behind both versions. `problem` says what was wrong at the last reading.

    A version of whose pods none has told anything has no counters in a reading, which is not the same as zeros.
    """

    def __init__(self, fetcher: Fetcher, endpoints: Callable[[Spec, Role], Endpoints], *, namespace: str) -> None:
        self._fetcher = fetcher
        self._endpoints = endpoints
        self._namespace = namespace
        self._told: dict[str, float] = {}
        """When Prometheus had last read each pod; when it was first seen where it never has."""
        self.problem = "not read yet"

    def read(self, spec: Spec) -> Reading:
        """Counters of every ready pod.

        Of pods that are asked themselves, one that does not answer is no reading at all, for it may hide errors. One
        that Prometheus did not read keeps its counts, and makes the reading as old as what is known of it.
        """
        roles: tuple[Role, ...] = ("stable", "canary", "baseline") if spec.baseline else ("stable", "canary")
        try:
            pods = {role: self._endpoints(spec, role) for role in roles}
            asked = self._ask_prometheus if spec.evidence.kind == "Prometheus" else self._ask_pods
            reading = asked(spec, {role: each.ready for role, each in pods.items()})
        except TorchfinchError as error:
            self.problem = error.message
            raise
        except (ValueError, OverflowError) as error:
            self.problem = f"the measurements are not Prometheus's text or JSON: {error}"
            raise TorchfinchError(self.problem) from error
        age = time.time() - reading.at
        self.problem = f"measurements are {age:.0f} s old" if age > spec.analysis.freshness else ""
        there = {name for each in pods.values() for name in (*each.ready, *each.others)}
        return replace(reading, untold=tuple(sorted(there - reading.stable.keys() - reading.canary.keys())))

    def _ask_pods(self, spec: Spec, addresses: Addresses) -> Reading:
        at, port = time.time(), spec.evidence.port
        urls = [f"http://{address}:{port}/metrics" for pods in addresses.values() for address in pods.values()]
        pages = iter(self._fetcher.get_all(urls, until=deadline()))
        counted = {
            role: {pod: count(samples(next(pages)), spec.model) for pod in pods} for role, pods in addresses.items()
        }
        return _reading(at, counted)

    def _ask_prometheus(self, spec: Spec, addresses: Addresses) -> Reading:
        where, until = spec.evidence, deadline()
        pods = {pod for known in addresses.values() for pod in known}
        if not pods:
            return Reading(at=time.time(), stable={}, canary={})
        chosen = f'namespace="{self._namespace}",{where.pod_label}=~"{"|".join(sorted(pods))}"'
        names = "|".join((*_NAMES, *(_PREDICTED if spec.shadow else ())))
        found = self._query(where, f'{{__name__=~"{names}",{chosen}}}', until)
        times = self._query(where, " or ".join(f"timestamp({name}{{{chosen}}})" for name in _ALWAYS), until)
        by_pod: dict[str, list[Sample]] = {}
        for sample in found:
            by_pod.setdefault(sample.labels.get(where.pod_label, ""), []).append(sample)
        if not by_pod.keys() & pods:
            raise TorchfinchError(f"{where.address} has no samples of {', '.join(sorted(pods))}")
        counted = {
            role: {pod: count(by_pod[pod], spec.model) for pod in known if pod in by_pod}
            for role, known in addresses.items()
        }
        newest = dict.fromkeys(pods & by_pod.keys(), 0.0)
        for sample in times:
            pod = sample.labels.get(where.pod_label, "")
            if pod in newest:
                newest[pod] = max(sample.value, newest[pod])
        return _reading(self._oldest(pods, newest), counted)

    def _oldest(self, pods: Iterable[str], newest: Mapping[str, float]) -> float:
        """The time for which the counters of all pods hold, by when each was read `newest`."""
        now = time.time()
        self._told = {pod: newest.get(pod) or self._told.get(pod, now) for pod in pods}
        return min(self._told.values())

    def _query(self, where: Measurements, query: str, until: float) -> list[Sample]:
        url = f"{where.address.rstrip('/')}/api/v1/query"
        text = self._fetcher.get(url, {"query": query}, until=until)
        try:
            return [
                Sample(each["metric"].pop("__name__", ""), each["metric"], float(each["value"][1]))
                for each in json.loads(text)["data"]["result"]
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise TorchfinchError(f"{url} does not answer as a Prometheus: {text[:200]}") from error


def _reading(at: float, counted: Mapping[Role, Mapping[str, Counters]]) -> Reading:
    stable, canary, baseline = counted["stable"], counted["canary"], counted.get("baseline")
    return Reading(at=at, stable=stable if baseline is None else with_baseline(stable, baseline), canary=canary)


def _own(found: Iterable[Sample], model: str) -> list[Sample]:
    """The samples of a model, and those that tell of none, such as TorchServe's answers by class.

    TorchServe tells the name in requests. A handler tells the one in its archive, which may be another: where none
    tells `model`, nothing is known of whose samples they are.
    """
    found = list(found)
    by_handlers = {sample.labels.get("model") for sample in found}
    told = {None, model} if model in by_handlers else by_handlers
    return [
        sample
        for sample in found
        if sample.labels.get("model_name", model) == model and sample.labels.get("model") in told
    ]


def count(found: Iterable[Sample], model: str) -> Counters:
    """One pod's counters of a model, out of its samples; a pod that has served nothing yet has none.

    TorchServe counts all answers by class, those to probes, of its management API and the metrics page too. So requests
    are what it counted on their arrival, and of errors, which may be more here, no more than these are judged.
    """
    found = _own(found, model)
    totals: dict[str, float] = {}
    within: dict[float, int] = {}
    for sample in found:
        if sample.name not in _NAMES or sample.labels.get("stage", "total") != "total":
            continue
        if "le" in sample.labels:
            edge = float(sample.labels["le"])
            within[edge] = within.get(edge, 0) + int(sample.value)
        else:
            totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
    requests = int(totals.get("ts_inference_requests_total", 0))
    errors = int(totals.get("Requests5XX", 0))
    timed = int(totals.get("torchfinch_stage_seconds_count", 0))
    seconds = totals.get("torchfinch_stage_seconds_sum", 0.0)
    if not timed:
        timed, seconds = max(requests - errors, 0), totals.get("ts_inference_latency_microseconds", 0.0) / 1e6
    classes, confidences = predicted(found)
    return Counters(
        requests=requests,
        errors=errors,
        client_errors=int(totals.get("Requests4XX", 0)),
        latency_sum=seconds,
        latency_count=timed,
        latency_buckets=tuple(within.get(edge, 0) for edge in (*LATENCY_EDGES, math.inf)) if within else (),
        classes=classes,
        confidences=confidences,
    )
