"""What an Envoy is started with, and the runtime keys by which its traffic is changed while it runs. Pure.

Facts this rests on, seen with Envoy 1.40.0: one `/runtime_modify` may set several keys, and any text; with
`runtime_key_prefix` the weights of a route are read from them at each request, as is the fraction of a mirror policy or
of a match; an endpoint file is read again when a rename replaces it; the admin socket may be a unix socket, which no
web page and no other user can reach.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from torchfinch.release.local.slots import SLOTS
from torchfinch.release.manifest.backends import EnvoyRoute
from torchfinch.release.manifest.options import Force
from torchfinch.release.state import LATENCY_EDGES, Role

ROLES: tuple[Role, ...] = ("stable", "canary")
_SPLIT, _MIRROR, _FORCE, _MARK = (f"torchfinch.{part}" for part in ("split", "mirror", "force", "mark"))
_TYPES = "type.googleapis.com/envoy"
_UNLIMITED = 1_000_000_000
_BUCKETS = {"match": {"suffix": "upstream_rq_time"}, "buckets": [1000 * edge for edge in LATENCY_EDGES]}
"""Milliseconds."""
Config = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Routing:
    """Where requests go. Slots that a mapping does not name get nothing."""

    weights: Mapping[str, int]
    """Percent of the requests, by slot."""
    mirrored: Mapping[str, int] = field(default_factory=dict)
    """Percent of the requests whose copies go to a slot."""
    forced: Mapping[Role, str] = field(default_factory=dict)
    """Slot of the requests that choose their version."""
    mark: str = ""

    @property
    def keys(self) -> dict[str, str]:
        """All of it as runtime keys."""
        keys = {_MARK: self.mark}
        for slot in SLOTS:
            keys[f"{_SPLIT}.{slot}"] = str(self.weights.get(slot, 0))
            keys[f"{_MIRROR}.{slot}"] = str(self.mirrored.get(slot, 0))
            keys |= {_force_key(role, slot): str(100 * (self.forced.get(role) == slot)) for role in ROLES}
        return keys


def read_routing(entries: Mapping[str, Mapping[str, Any]]) -> Routing:
    """The routing out of the entries of `/runtime`."""

    def value(key: str) -> str:
        return str(entries.get(key, {}).get("final_value", ""))

    return Routing(
        weights={slot: int(value(f"{_SPLIT}.{slot}") or 0) for slot in SLOTS},
        mirrored={slot: int(value(f"{_MIRROR}.{slot}") or 0) for slot in SLOTS},
        forced={role: slot for role in ROLES for slot in SLOTS if value(_force_key(role, slot)) == "100"},
        mark=value(_MARK),
    )


def aside(slot: str) -> str:
    """The cluster of a slot's requests that choose their version: they are no evidence, so they count apart."""
    return f"{slot}-forced"


def endpoint_file(folder: Path, slot: str) -> Path:
    """Where Envoy reads the address of a slot's server."""
    return folder / f"endpoints-{slot}.json"


def endpoints(slot: str, address: str | None) -> Config:
    """What that file says: the slot leads to `address` ("127.0.0.1:8080"), or nowhere."""
    host, _, port = (address or "").rpartition(":")
    endpoint = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port or 0)}}}}
    assignment = {
        "@type": f"{_TYPES}.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": slot,
        "endpoints": [{"lb_endpoints": [endpoint]}] if address else [],
    }
    return {"resources": [assignment]}


def bootstrap(folder: Path, route: EnvoyRoute, force: Force | None, start: Routing) -> Config:
    """The whole configuration."""
    clusters = [_cluster(folder, slot, slot) for slot in SLOTS]
    clusters += [_cluster(folder, aside(slot), slot) for slot in SLOTS if force]
    return {
        "node": {"id": "torchfinch", "cluster": "torchfinch"},
        "admin": {"address": {"pipe": {"path": "admin.sock", "mode": 0o600}}},
        "stats_flush_interval": "0.5s",  # histograms are brought up to date only then
        "stats_config": {"histogram_bucket_settings": [_BUCKETS]},
        "layered_runtime": {
            "layers": [
                {"name": "start", "static_layer": _nested(start)},
                {"name": "admin", "admin_layer": {}},
            ]
        },
        "static_resources": {"listeners": [_listener(route, force)], "clusters": clusters},
    }


def _nested(start: Routing) -> Config:
    """A static layer reads numbers; the mark begins with none."""
    return {key: int(value) for key, value in start.keys.items() if key != _MARK}


def _cluster(folder: Path, name: str, slot: str) -> Config:
    source = {"path_config_source": {"path": str(endpoint_file(folder, slot).resolve())}}
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), _UNLIMITED)
    return {
        "name": name,
        "type": "EDS",
        "connect_timeout": "5s",
        "eds_cluster_config": {"service_name": slot, "eds_config": {"resource_api_version": "V3", **source}},
        "circuit_breakers": {"thresholds": [limits]},
    }


def _listener(route: EnvoyRoute, force: Force | None) -> Config:
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
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": list(_routes(route, force))}]},
    }
    return {
        "name": "edge",
        "address": {"socket_address": {"address": route.host, "port_value": route.port}},
        "enable_reuse_port": False,  # otherwise two Envoys share a port in silence, and each gets half of the traffic
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": http}]}
        ],
    }


def _routes(route: EnvoyRoute, force: Force | None) -> Iterator[Config]:
    """First the requests that choose their version, then all others, by weight."""
    timeout = {"timeout": f"{route.timeout:g}s"}  # no retries: they would hide a version's errors from the evidence
    for role, slot in product(ROLES, SLOTS):
        for header in _choices(force, role) if force else ():
            match = {"prefix": "/", "headers": [header], "runtime_fraction": _fraction(_force_key(role, slot))}
            yield {"match": match, "route": {"cluster": aside(slot), **timeout}}
    split = {"runtime_key_prefix": _SPLIT, "clusters": [{"name": slot, "weight": 1} for slot in SLOTS]}
    mirrors = [
        {
            "cluster": slot,
            "runtime_fraction": _fraction(f"{_MIRROR}.{slot}"),
            "disable_shadow_host_suffix_append": True,
        }
        for slot in SLOTS
    ]
    action = {"weighted_clusters": split, "request_mirror_policies": mirrors, **timeout}
    yield {"match": {"prefix": "/"}, "route": action}


def _choices(force: Force, role: Role) -> Iterator[Config]:
    """The header matches by which a request chooses this version."""
    if force.header:
        yield {"name": force.header, "string_match": {"exact": role}}
    if force.cookie:
        yield {"name": "cookie", "string_match": {"safe_regex": {"regex": force.cookie_pattern(role)}}}


def _fraction(key: str) -> Config:
    return {"default_value": {"numerator": 0, "denominator": "HUNDRED"}, "runtime_key": key}


def _force_key(role: Role, slot: str) -> str:
    return f"{_FORCE}.{role}.{slot}"
