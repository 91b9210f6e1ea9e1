"""The controller with a real Envoy and real HTTP servers: promoted, taken back, and no request lost on the way."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import yaml

from torchfinch.release.evidence import EnvoyEvidence
from torchfinch.release.local import local_controller
from torchfinch.release.replay import replay
from torchfinch.release.router import EnvoyRouter
from torchfinch.release.spec import Spec
from torchfinch.release.state import Phase
from torchfinch.release.store import FileStore, read_history
from torchfinch.serving.config import free_ports

pytestmark = pytest.mark.slow


class SmallServers:
    """HTTP servers that behave as the text of their archive says: `good`, `failing` or `slow`."""

    def __init__(self) -> None:
        self._running: dict[str, ThreadingHTTPServer] = {}

    def start(self, spec: Spec, slot: str, archive: Path) -> str:
        behaviour = archive.read_text().split()[0]

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            count = 0

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                type(self).count += 1
                time.sleep(0.4 if behaviour == "slow" else 0.002)
                self.send_response(500 if behaviour == "failing" and self.count % 5 == 0 else 200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self._running[slot] = server
        return f"127.0.0.1:{server.server_address[1]}"

    def stop(self, slot: str) -> None:
        server = self._running.pop(slot, None)
        if server:
            server.shutdown()
            server.server_close()

    def running(self, slot: str) -> bool:
        return slot in self._running

    def ready(self, spec: Spec, slot: str) -> int | None:
        return int(slot in self._running)

    def label(self, archive: Path) -> str:
        return archive.read_text()


class World:
    """A release's folder, manifest, router and store."""

    def __init__(self, folder: Path, canary: str) -> None:
        [self.port] = free_ports(1)
        for name, text in (("stable", "good 1"), ("canary", canary)):
            (folder / f"{name}.mar").write_text(text)
        self.manifest = folder / "release.yaml"
        self.write(folder)
        self.store = FileStore(folder / "release")
        (folder / "release").mkdir()
        self.servers = SmallServers()
        self.router = EnvoyRouter(folder / "release", self.servers)
        self.controller = local_controller(self.manifest, router=self.router, store=self.store)
        self.router.prepare(self.controller._read_spec())

    def write(self, folder: Path) -> None:
        steps = [{"weight": weight} for weight in (5, 25, 50, 100)]
        analysis = {
            "interval": "200ms",
            "minRequests": 100,
            "stableErrorFloor": 0.001,
            "maxMeanLatency": "300ms",
            "maxLatencyRatio": 20,
        }
        spec = {
            "model": "m",
            "stable": {"archive": str(folder / "stable.mar")},
            "canary": {"archive": str(folder / "canary.mar")},
            "route": {"port": self.port},
            "steps": steps,
            "analysis": analysis,
        }
        head = {"apiVersion": "torchfinch.dev/v1alpha1", "kind": "CanaryRelease", "metadata": {"name": "m"}}
        self.manifest.write_text(yaml.safe_dump({**head, "spec": spec}))

    def run(self) -> Phase:
        end = time.monotonic() + 120

        def over(tick: object) -> bool:
            return getattr(tick, "outcome", None) is not None or time.monotonic() > end

        return self.controller.run(until=over).decision.state.phase

    @contextmanager
    def traffic(self) -> Iterator[list[int]]:
        """Eight clients that ask as fast as they may; the statuses they got."""
        statuses: list[int] = []
        stopped = threading.Event()

        def ask() -> None:
            with httpx.Client(timeout=10) as client:
                while not stopped.is_set():
                    statuses.append(client.post(f"http://127.0.0.1:{self.port}/", content=b"x").status_code)
                    time.sleep(0.01)  # leave the machine's cores to Envoy and the controller

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            yield statuses
        finally:
            stopped.set()
            for thread in threads:
                thread.join()


@contextmanager
def world(folder: Path, canary: str) -> Iterator[World]:
    made = World(folder, canary)
    try:
        yield made
    finally:
        made.router.stop()
    assert made.router.envoy.process is None


def test_a_good_canary_climbs_every_step_and_no_request_fails(tmp_path: Path) -> None:
    with world(tmp_path, "good 2") as it, it.traffic() as statuses:
        phase = it.run()
        time.sleep(0.5)
    history = read_history(it.store.history)

    assert phase is Phase.PROMOTED
    assert set(statuses) == {200}
    weights = [line["weight"] for line in history]
    assert sorted(set(weights)) == [0, 5, 25, 50, 100]
    assert it.router.table().stable == "b"
    assert all(replayed.same for replayed in replay(history))


@pytest.mark.parametrize(("canary", "reason"), [("failing 2", "error rate"), ("slow 2", "mean latency")])
def test_a_bad_canary_is_taken_back_for_what_is_wrong_with_it(tmp_path: Path, canary: str, reason: str) -> None:
    with world(tmp_path, canary) as it, it.traffic() as statuses:
        phase = it.run()
        before = len(statuses)
        time.sleep(0.5)
        after = statuses[before + 8 :]

    assert phase is Phase.ROLLED_BACK
    assert reason in it.store.load().reason
    assert read_history(it.store.history)[-1]["weight"] == 0
    assert after
    assert set(after) == {200}


def test_a_weight_raised_by_hand_is_put_back_and_a_lowered_one_is_a_pause(tmp_path: Path) -> None:
    with world(tmp_path, "good 2") as it:
        for _ in range(8):  # no traffic: it stays at the first step
            tick = it.controller.tick()
        assert tick.decision.state.weight == 5
        mark = it.router.envoy.weights()[1]

        it.router.envoy.set_weights({"b": 60, "a": 40}, mark)
        assert any("raised by hand to 60" in note for note in it.controller.tick().decision.notes)
        assert it.router.envoy.weights()[0] == {"a": 95, "b": 5}

        it.router.envoy.set_weights({"b": 1, "a": 99}, it.router.envoy.weights()[1])
        assert it.controller.tick().decision.state.phase is Phase.PAUSED
        assert it.router.envoy.weights()[0] == {"a": 99, "b": 1}


def test_a_restarted_envoy_gets_its_weights_back(tmp_path: Path) -> None:
    with world(tmp_path, "good 2") as it:
        for _ in range(8):
            it.controller.tick()
        it.router.envoy.stop()
        for _ in range(3):
            it.controller.tick()

        assert it.router.envoy.weights()[0] == {"a": 95, "b": 5}
        assert EnvoyEvidence(it.router).read().canary.requests == 0
