"""A release with a real Envoy in front of small HTTP servers, which a controller in any process can drive."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from torchfinch.release.controller import Controller, Tick
from torchfinch.release.local.evidence import EnvoyEvidence
from torchfinch.release.local.router import EnvoyRouter, edge
from torchfinch.release.local.servers import local_controller, read_manifest
from torchfinch.release.local.store import FileStore
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.state import Phase, Reading
from torchfinch.serving.config import free_ports

HERE = Path(__file__).parent


class SmallServers:
    """Servers that behave as the text of their archive says, and that end at once when they are stopped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, spec: Spec, slot: str, archive: Path) -> str:
        child = subprocess.Popen([sys.executable, HERE / "small_server.py", archive], stdout=subprocess.PIPE)
        assert child.stdout
        port = int(child.stdout.readline())
        child.stdout.close()
        self._children[slot] = child
        self._file(slot).write_text(str(child.pid))
        return f"127.0.0.1:{port}"

    def stop(self, slot: str) -> None:
        process, child = self.process(slot), self._children.pop(slot, None)
        if process:
            process.kill()
        if child:
            child.wait()
        self._file(slot).unlink(missing_ok=True)

    def process(self, slot: str) -> psutil.Process | None:
        try:
            process = psutil.Process(int(self._file(slot).read_text()))
            return process if process.status() != psutil.STATUS_ZOMBIE else None
        except (FileNotFoundError, psutil.NoSuchProcess):
            return None

    def running(self, slot: str) -> bool:
        return self.process(slot) is not None

    def ready(self, spec: Spec, slot: str) -> int | None:
        return int(self.running(slot))

    def label(self, archive: Path) -> str:
        return archive.read_text()

    def metrics(self, slot: str) -> str:
        return ""

    def _file(self, slot: str) -> Path:
        return self._folder / f"small-{slot}.pid"


class Release:
    """One release in a folder of its own: `release.yaml`, `stable.mar`, `canary.mar` and `state/`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = folder / "release.yaml"
        self.store = FileStore(folder / "state")
        self.servers = SmallServers(folder)
        self.router = EnvoyRouter(folder / "state", self.servers)

    def write(
        self, canary: str, *, stable: str = "good 1", port: int = 0, route_timeout: str = "60s", **changes: Any
    ) -> None:
        """Write archives and manifest; `changes` replace fields of the spec, those of `analysis` one by one."""
        for name, text in (("stable", stable), ("canary", canary)):
            (self.folder / f"{name}.mar").write_text(text)
        analysis = {
            "interval": "200ms",
            "minRequests": 30,
            "stableErrorFloor": 0.001,
            "maxMeanLatency": "300ms",
            "maxLatencyRatio": 20,
            **changes.pop("analysis", {}),
        }
        spec = {
            "model": "m",
            "stable": {"archive": str(self.folder / "stable.mar")},
            "canary": {"archive": str(self.folder / "canary.mar")},
            "route": {"port": port or free_ports(1)[0], "timeout": route_timeout},
            "steps": [{"weight": weight} for weight in (5, 25, 50, 100)],
            "analysis": analysis,
            **changes,
        }
        head = {"apiVersion": "torchfinch.dev/v1alpha1", "kind": "CanaryRelease", "metadata": {"name": "m"}}
        self.manifest.write_text(yaml.safe_dump({**head, "spec": spec}))

    def controller(self) -> Controller:
        """A controller that knows nothing but what is in the folder."""
        return local_controller(self.manifest, router=self.router, store=self.store)

    def read(self) -> Reading:
        """What Envoy has counted."""
        return EnvoyEvidence(self.router).read(read_manifest(self.manifest).spec)

    def run(self, *, until: Callable[[Tick], bool] = lambda tick: tick.outcome is not None) -> Tick:
        """Control the release until it has ended, or two minutes are over."""
        end = time.monotonic() + 120

        def over(tick: Tick) -> bool:
            assert time.monotonic() < end, f"still {tick.decision.state}"
            return until(tick)

        return self.controller().run(until=over)

    def run_to_weight(self, weight: int) -> None:
        """Control the release until this weight is verified."""
        self.run(until=lambda tick: tick.decision.state.verified and tick.decision.state.weight == weight)

    @property
    def phase(self) -> Phase:
        """As it is written."""
        return self.store.load().phase

    @property
    def weights(self) -> dict[str, int]:
        """As Envoy has them."""
        return dict(self.router.envoy.routing().weights)

    @property
    def url(self) -> str:
        """Where clients ask."""
        return f"http://127.0.0.1:{edge(read_manifest(self.manifest).spec).port}/"

    @contextmanager
    def traffic(self, path: str = "", body: bytes = b"x") -> Iterator[list[int]]:
        """Eight clients that ask one request after the other; the statuses that they got, 0 for none."""
        statuses: list[int] = []
        stopped, url = threading.Event(), self.url + path

        def ask() -> None:
            with httpx.Client(timeout=10) as client:
                while not stopped.is_set():
                    try:
                        statuses.append(client.post(url, content=body).status_code)
                    except httpx.HTTPError:
                        statuses.append(0)
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
def release(folder: Path, canary: str, **changes: Any) -> Iterator[Release]:
    """A release whose stable version and Envoy run; everything is ended afterwards."""
    folder.mkdir(exist_ok=True)
    made = Release(folder)
    made.write(canary, **changes)
    try:
        with made.store.locked():
            made.router.prepare(read_manifest(made.manifest).spec)
        yield made
    finally:
        made.router.stop()
    assert made.router.envoy.process is None
