"""Servers of measurements as a controller meets them."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from release.hooks import hook
from waiting import within

from torchfinch.errors import TorchfinchError
from torchfinch.release.cluster import fetcher as fetcher_module
from torchfinch.release.cluster.evidence import ClusterEvidence
from torchfinch.release.cluster.fetcher import Fetcher, deadline
from torchfinch.release.cluster.workloads import Endpoints
from torchfinch.release.decision.answers import forward, look
from torchfinch.release.decision.rules import accumulate, merged
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.state import Counters, Pair, Phase, Reading, Seen, State

WORKERS = 8
PODS = {
    "stable": Endpoints({"s1": "127.0.0.2", "s2": "127.0.0.3"}, ("s3",)),
    "canary": Endpoints({"c1": "127.0.0.4"}, ()),
}
PAGE = """
ts_inference_requests_total{{model_name="digits"}} {requests}
Requests2XX{{Level="Host"}} 900
Requests5XX{{Level="Host"}} {errors}
torchfinch_stage_seconds_sum{{stage="total"}} 1.5
torchfinch_stage_seconds_count{{stage="total"}} {requests}
"""


def spec(**evidence: Any) -> Spec:
    return Spec.model_validate(
        {
            "model": "digits",
            "stable": {"deployment": "s"},
            "canary": {"deployment": "c"},
            "route": {"kind": "HTTPRoute", "name": "r"},
            "steps": [{"weight": 5}],
            "evidence": evidence,
        }
    )


def evidence_of_pods() -> ClusterEvidence:
    return ClusterEvidence(Fetcher(), lambda _, role: PODS[role], namespace="d")


@contextmanager
def serving(reply: Callable[[str], Iterator[bytes]], address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A server that answers every path with the parts of `reply`, while the block runs; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(ConnectionError):
                for part in reply(self.path):
                    self.wfile.write(part)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((address, port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def pages(told: dict[str, str]) -> Iterator[int]:
    """A page of metrics on each address, all on one port."""

    def telling(address: str) -> Callable[[str], Iterator[bytes]]:
        return lambda path: iter([told[address].encode()] if path == "/metrics" else [])

    with ExitStack() as stack:
        port = 0
        for address in told:
            port = stack.enter_context(serving(telling(address), address, port))
        yield port


def test_the_pods_of_both_versions_are_asked_and_their_counts_kept_apart() -> None:
    addresses = [address for pods in PODS.values() for address in pods.ready.values()]
    told = {each: PAGE.format(requests=10 * number, errors=number) for number, each in enumerate(addresses, 1)}
    with pages(told) as port:
        evidence = evidence_of_pods()
        reading = evidence.read(spec(port=port))
    counted = {name: (each.requests, each.errors) for name, each in {**reading.stable, **reading.canary}.items()}
    assert counted == {"s1": (10, 1), "s2": (20, 2), "c1": (30, 3)}
    assert set(reading.canary) == {"c1"}
    assert reading.canary["c1"].mean_latency == 0.05
    assert evidence.problem == ""


def test_a_pod_that_does_not_answer_is_no_reading_for_it_may_hide_errors() -> None:
    with pages({"127.0.0.2": PAGE.format(requests=1, errors=0), "127.0.0.3": ""}) as port:
        evidence = evidence_of_pods()
        with pytest.raises(TorchfinchError, match=r"127\.0\.0\.4"):
            evidence.read(spec(port=port))
    assert "127.0.0.4" in evidence.problem


def test_many_pods_that_hang_end_a_look_in_the_time_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher_module, "_SECONDS", 1)
    monkeypatch.setattr(fetcher_module, "_SIDE_BY_SIDE", 2)
    over, asked = threading.Event(), []

    def hang(path: str) -> Iterator[bytes]:
        asked.append(path)
        over.wait(30)
        yield b""

    with ExitStack() as stack:
        port, urls = 0, []
        for last in range(2, 8):
            port = stack.enter_context(serving(hang, f"127.0.0.{last}", port))
            urls.append(f"http://127.0.0.{last}:{port}/metrics")
        with pytest.raises(TorchfinchError, match="within 1 s"):
            Fetcher().get_all(urls, until=deadline())
        over.set()
    assert len(asked) == 2, "the others were not asked any more"


def test_a_page_that_drips_without_end_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher_module, "_SECONDS", 0.5)
    over = threading.Event()

    def drip(_: str) -> Iterator[bytes]:
        while not over.wait(0.05):
            yield b"drip\n"

    with serving(drip) as port:
        with pytest.raises(TorchfinchError, match="did not answer within"):
            Fetcher().get(f"http://127.0.0.1:{port}/metrics")
        over.set()


@contextmanager
def prometheus(told: dict[str, tuple[int, float]]) -> Iterator[Spec]:
    """Knows the requests of pods, and when it read them."""

    def reply(path: str) -> Iterator[bytes]:
        query = parse_qs(urlparse(path).query)["query"][0]
        times = query.startswith("timestamp")
        found = [
            {
                "metric": {"pod": pod, **({} if times else {"__name__": "ts_inference_requests_total"})},
                "value": [0, str(at if times else requests)],
            }
            for pod, (requests, at) in told.items()
        ]
        yield json.dumps({"status": "success", "data": {"result": found}}).encode()

    with serving(reply) as port:
        yield spec(kind="Prometheus", address=f"http://127.0.0.1:{port}")


def test_a_pod_that_prometheus_could_not_read_is_not_counted_twice_and_makes_the_reading_old() -> None:
    now = time.time()
    told = {"s1": (1000, now), "s2": (1000, now), "c1": (0, now)}
    with prometheus(told) as asked:
        evidence = evidence_of_pods()
        first = evidence.read(asked)
        del told["s2"]
        told |= {"s1": (1010, now + 5), "c1": (0, now + 5)}
        missing = evidence.read(asked)
        assert missing.stable.keys() == {"s1"}
        assert missing.at == now, "as old as what is known of the pod that is missing"
        told |= {"s1": (1020, now + 9), "s2": (1020, now + 9)}
        back = evidence.read(asked)
    assert back.at == now + 5
    total = accumulate(Pair(), first, missing)
    total = accumulate(total, merged(first, missing), back)
    assert total.stable.requests == 40


def test_a_pod_that_prometheus_had_not_read_when_counting_started_brings_no_errors_of_before() -> None:
    now = time.time()
    told = {"s1": (1000, now), "c1": (0, now)}
    with prometheus(told) as asked:
        evidence = evidence_of_pods()
        first = evidence.read(asked)
        assert first.untold == ("s2", "s3")
        second = evidence.read(asked)
        told |= {"s1": (1010, now + 5), "s2": (70_000, now + 5), "c1": (3, now + 5)}
        third = evidence.read(asked)
        told |= {"s2": (70_007, now + 9)}
        fourth = evidence.read(asked)
    total, last = Pair(), first
    for reading in (second, third, fourth):
        total, last = accumulate(total, last, reading), merged(last, reading)
    assert (total.stable.requests, total.canary.requests) == (17, 3)
    assert last.untold == ("s3",)


def test_a_pod_that_could_not_be_read_when_the_canary_got_its_first_weight_is_not_all_new_when_it_can() -> None:
    before = Reading(at=1.0, stable={"s1": Counters(requests=1000), "s2": Counters(requests=1000)}, canary={})
    missing = Reading(at=2.0, stable={"s1": Counters(requests=1010)}, canary={})
    state = State(phase=Phase.PROGRESSING, stable="one", canary="two", last=before)
    first = forward(look(spec(), state, Seen(reading=missing), 2.0), "ready").state
    assert (first.weight, first.total) == (5, Pair())
    back = Reading(at=3.0, stable={"s1": Counters(requests=1020), "s2": Counters(requests=1020)}, canary={})
    assert look(spec(), first, Seen(reading=back), 3.0).state.total.stable.requests == 30


def test_a_version_that_prometheus_never_read_is_not_one_with_no_requests() -> None:
    told = {"s1": (10, time.time()), "s2": (10, time.time())}
    with prometheus(told) as asked:
        assert evidence_of_pods().read(asked).canary == {}
        told["c1"] = 0, time.time()
        assert evidence_of_pods().read(asked).canary["c1"].requests == 0


def test_no_series_at_all_are_no_reading_however_fresh() -> None:
    with prometheus({}) as asked:
        evidence = evidence_of_pods()
        with pytest.raises(TorchfinchError, match="has no samples of c1, s1, s2"):
            evidence.read(asked)
    assert "has no samples" in evidence.problem


def test_an_address_that_is_none_and_a_page_that_is_no_metrics_are_told() -> None:
    evidence = evidence_of_pods()
    with pytest.raises(TorchfinchError, match=r"http://prometheus:\$\{PORT\}/api/v1/query is no address"):
        evidence.read(spec(kind="Prometheus", address="http://prometheus:${PORT}"))
    told = dict.fromkeys(("127.0.0.2", "127.0.0.3", "127.0.0.4"), "<style>\nbody { margin: 0 }\n</style>")
    with pages(told) as port, pytest.raises(TorchfinchError, match="the measurements are not Prometheus's text"):
        evidence.read(spec(port=port))


def test_a_server_that_hangs_keeps_two_workers_waiting_and_the_others_are_free_for_other_releases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetcher_module, "_SECONDS", 60)
    fetcher = Fetcher()
    with ThreadPoolExecutor(WORKERS) as workers, hook() as hanging, hook() as healthy:
        hanging.free.clear()
        asked = [workers.submit(fetcher.get, hanging.url) for _ in range(WORKERS)]
        assert within(30, lambda: sum(each.done() for each in asked) == WORKERS - 2)
        assert len(hanging.bodies) == 2

        with pytest.raises(TorchfinchError, match="is slow: 2 requests wait for its answer"):
            fetcher.get(hanging.url)
        assert workers.submit(fetcher.get, healthy.url).result() == "1"
        assert sum(each.done() for each in asked) == WORKERS - 2, "those two still wait"

        hanging.free.set()
        wait(asked)
        assert sum(each.exception() is None for each in asked) == 2
        assert fetcher.get(hanging.url) == "1", "once it answers it is asked as before"


def test_of_many_servers_that_hung_before_few_are_asked_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher_module, "_SECONDS", 0.2)
    monkeypatch.setattr(fetcher_module, "_REST", 0)
    over, fetcher = threading.Event(), Fetcher()

    def hang(_: str) -> Iterator[bytes]:
        over.wait(30)
        yield b"1"

    with ExitStack() as stack, ThreadPoolExecutor(WORKERS) as workers:
        port, urls = 0, []
        for last in range(2, 2 + WORKERS):
            port = stack.enter_context(serving(hang, f"127.0.0.{last}", port))
            urls.append(f"http://127.0.0.{last}:{port}/metrics")
        for url in urls:
            with pytest.raises(TorchfinchError, match="did not answer within"):
                fetcher.get(url)
        monkeypatch.setattr(fetcher_module, "_SECONDS", 60)
        asked = [workers.submit(fetcher.get, url) for url in urls]
        assert within(30, lambda: sum(each.done() for each in asked) == WORKERS - 4)
        refused = [str(each.exception()) for each in asked if each.done()]
        assert all("others are asked again first" in each for each in refused)
        over.set()
        wait(asked)
        assert fetcher.get_all(urls, until=deadline()) == ["1"] * WORKERS


def test_all_who_ask_a_server_that_answers_get_their_turn() -> None:
    fetcher = Fetcher()
    with ThreadPoolExecutor(WORKERS) as workers, hook() as healthy:
        asked = [workers.submit(fetcher.get, healthy.url) for _ in range(50)]
        wait(asked, return_when=FIRST_EXCEPTION)
        assert [each.result() for each in asked] == ["1"] * 50
