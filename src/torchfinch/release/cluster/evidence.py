"""Evidence of a cluster: what TorchServe and the handler SDK count in every pod, read there or from Prometheus.

Errors are TorchServe's own answers of class 5xx: a dead worker's 500 and a full queue's 503 never reach a handler.
Latency is the handler's where the SDK tells it, else TorchServe's.
"""

import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from torchfinch.errors import TorchfinchError
from torchfinch.release.cluster.router import ClusterRouter
from torchfinch.release.decision.baseline import with_baseline
from torchfinch.release.exposition import Sample, samples
from torchfinch.release.manifest.spec import Measurements, Spec
from torchfinch.release.predicted import NAMES as _PREDICTED
from torchfinch.release.predicted import predicted
from torchfinch.release.state import LATENCY_EDGES, Counters, Reading, Role

_SECONDS = 5.0
_REST = 10.0
_AT_ONCE = 2
"""Requests that one server gets at a time, so that one that hangs leaves most of the workers to other releases."""
_PATIENCE = 1.0
_NAMES = (
    "ts_inference_requests_total", "ts_inference_latency_microseconds", "Requests2XX", "Requests4XX", "Requests5XX",
    "torchfinch_stage_seconds_sum", "torchfinch_stage_seconds_count", "torchfinch_stage_seconds_bucket",
)  # fmt: skip
Addresses = Mapping[Role, Mapping[str, str]]


@dataclass
class _Server:
    """How a server of measurements has behaved."""

    turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_AT_ONCE))
    slow: bool = False
    """Whether somebody has waited for a turn in vain since it last answered."""
    rests_until: float = 0.0


class Fetcher:
    """GET with a deadline. A server that hangs takes few of the workers, and is then left alone for a while."""

    def __init__(self) -> None:
        self._client = httpx.Client(timeout=_SECONDS, follow_redirects=False, trust_env=False)
        self._servers: dict[str, _Server] = {}

    def get(self, url: str, params: Mapping[str, str] | None = None) -> httpx.Response:
        """The answer, of status 200; raises `TorchfinchError` for any other and for none."""
        server = self._servers.setdefault(str(httpx.URL(url).netloc), _Server())
        with _turn(server, url):
            try:
                answer = self._client.get(url, params=params)
                server.slow = False
                return answer.raise_for_status()
            except httpx.TimeoutException as error:
                server.rests_until = time.monotonic() + _REST
                raise TorchfinchError(f"{url} did not answer within {_SECONDS:g} s") from error
            except httpx.HTTPError as error:
                raise TorchfinchError(f"{url}: {error}") from error


@contextmanager
def _turn(server: _Server, url: str) -> Iterator[None]:
    """One of the few requests that a server gets at once; where others have waited in vain already, nobody waits."""
    if not server.turns.acquire(timeout=0 if server.slow else _PATIENCE):
        server.slow = True
        raise TorchfinchError(f"{url} is slow: {_AT_ONCE} requests wait for its answer")
    try:
        if server.rests_until > time.monotonic():
            raise TorchfinchError(f"{url} did not answer a moment ago")
        yield
    finally:
        server.turns.release()


class ClusterEvidence:
    """Counters of the pods behind both versions. `problem` says what was wrong at the last reading."""

    def __init__(self, fetcher: Fetcher, router: ClusterRouter, *, namespace: str) -> None:
        self._fetcher = fetcher
        self._router = router
        self._namespace = namespace
        self.problem = "not read yet"

    def read(self, spec: Spec) -> Reading:
        """Counters of every ready pod; one that does not tell is no reading at all, for it may hide errors."""
        try:
            roles: tuple[Role, ...] = ("stable", "canary", "baseline") if spec.baseline else ("stable", "canary")
            addresses = {role: self._router.addresses(spec, role) for role in roles}
            reading = (
                self._ask_prometheus(spec, addresses)
                if spec.evidence.kind == "Prometheus"
                else self._ask_pods(spec.evidence, addresses)
            )
        except TorchfinchError as error:
            self.problem = error.message
            raise
        self.problem = ""
        return reading

    def _ask_pods(self, where: Measurements, addresses: Addresses) -> Reading:
        at = time.time()
        counted = {
            role: {pod: self._ask_pod(f"http://{address}:{where.port}/metrics") for pod, address in pods.items()}
            for role, pods in addresses.items()
        }
        return _reading(at, counted)

    def _ask_pod(self, url: str) -> Counters:
        return count(samples(self._fetcher.get(url).text))

    def _ask_prometheus(self, spec: Spec, addresses: Addresses) -> Reading:
        where = spec.evidence
        pods = {pod for known in addresses.values() for pod in known}
        if not pods:
            return Reading(at=time.time(), stable={}, canary={})
        chosen = f'{{namespace="{self._namespace}",{where.pod_label}=~"{"|".join(sorted(pods))}"}}'
        names = "|".join((*_NAMES, *(_PREDICTED if spec.shadow else ())))
        found = self._query(where, f'{{__name__=~"{names}",{chosen[1:]}')
        times = self._query(where, f"timestamp(ts_inference_requests_total{chosen})")
        by_pod: dict[str, list[Sample]] = {pod: [] for pod in pods}
        for sample in found:
            by_pod[sample.labels.get(where.pod_label, "")].append(sample)
        counted = {role: {pod: count(by_pod[pod]) for pod in known} for role, known in addresses.items()}
        return _reading(min((sample.value for sample in times), default=time.time()), counted)

    def _query(self, where: Measurements, query: str) -> list[Sample]:
        url = f"{where.address.rstrip('/')}/api/v1/query"
        content = self._fetcher.get(url, {"query": query}).json()
        if content.get("status") != "success":
            raise TorchfinchError(f"{url} refused {query}: {content.get('error')}")
        return [
            Sample(each["metric"].pop("__name__", ""), each["metric"], float(each["value"][1]))
            for each in content["data"]["result"]
        ]


def _reading(at: float, counted: Mapping[Role, Mapping[str, Counters]]) -> Reading:
    stable, canary, baseline = counted["stable"], counted["canary"], counted.get("baseline")
    return Reading(at=at, stable=stable if baseline is None else with_baseline(stable, baseline), canary=canary)


def count(found: Iterable[Sample]) -> Counters:
    """One pod's counters, out of its samples; a pod that has served nothing yet has none.

    TorchServe counts `/ping` and the metrics page among its answers of class 2xx, so requests are those that it counted
    on their arrival.
    """
    found = list(found)
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
