"""What a load test measured: a value that is printed, kept as `summary.json` and read by the report."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torchfinch.errors import TorchfinchError


@dataclass(frozen=True)
class Numbers:
    """One row of locust's statistics; latencies in milliseconds, failed requests among them.

    `throughput` counts good answers per second: an error that comes quickly is no service.
    """

    requests: int
    failures: int
    throughput: float
    p50: float
    p95: float
    p99: float
    mean: float

    @property
    def error_rate(self) -> float:
        """Failures per request, between 0 and 1."""
        return self.failures / self.requests if self.requests else 0.0

    def to_dict(self) -> dict[str, float]:
        """Plain JSON types, the error rate among them."""
        return {key: _rounded(value) for key, value in (asdict(self) | {"error_rate": self.error_rate}).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Numbers":
        """Read what `to_dict` or the observer wrote."""
        measured = {key: float(data[key]) for key in ("throughput", "p50", "p95", "p99", "mean")}
        return cls(requests=int(data["requests"]), failures=int(data["failures"]), **measured)


@dataclass(frozen=True)
class Reason:
    """Why requests failed, and how many for this reason."""

    name: str
    reason: str
    count: int


@dataclass(frozen=True)
class Verdict:
    """A limit, what was measured, and whether it was kept; units as in `Limit`."""

    name: str
    limit: float
    value: float
    ok: bool


@dataclass(frozen=True)
class Summary:
    """A whole load test; `versions` maps the version that answered to its share of the numbers.

    `seconds` is the time it really ran; `interrupted` says that it was ended before its time.
    """

    url: str
    model: str
    users: int
    seconds: float
    total: Numbers
    versions: Mapping[str, Numbers] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()
    limits: tuple[Verdict, ...] = ()
    interrupted: bool = False

    @property
    def ok(self) -> bool:
        """Whether every stated limit was kept."""
        return all(verdict.ok for verdict in self.limits)

    def to_dict(self) -> dict[str, Any]:
        """The content of `summary.json`: the numbers of the total at the top."""
        return {
            "url": self.url,
            "model": self.model,
            "users": self.users,
            "seconds": _rounded(self.seconds),
            "interrupted": self.interrupted,
            **self.total.to_dict(),
            "versions": {version: numbers.to_dict() for version, numbers in self.versions.items()},
            "reasons": [asdict(reason) for reason in self.reasons],
            "limits": [asdict(verdict) for verdict in self.limits],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Summary":
        """Read what `to_dict` wrote."""
        return cls(
            url=str(data["url"]),
            model=str(data["model"]),
            users=int(data["users"]),
            seconds=float(data["seconds"]),
            total=Numbers.from_dict(data),
            versions={version: Numbers.from_dict(numbers) for version, numbers in data["versions"].items()},
            reasons=tuple(Reason(**reason) for reason in data.get("reasons", [])),
            limits=tuple(Verdict(**verdict) for verdict in data.get("limits", [])),
            interrupted=bool(data.get("interrupted", False)),
        )


def read_summary(folder: Path) -> Summary:
    """The summary that a load test left in its output folder.

    Raises:
        TorchfinchError: there is none, or it is not one.
    """
    path = folder / "summary.json"
    try:
        return Summary.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise TorchfinchError(f"{folder} holds no summary.json", "torchfinch loadtest writes one") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TorchfinchError(
            f"{path} is no load test's summary ({error!r})", "run torchfinch loadtest again"
        ) from error


def split_versions(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Numbers]:
    """Numbers per version from locust's rows, named `MODEL@VERSION` by the locustfile.

    Requests that nobody signed (no answer at all, or a server without the SDK's headers) are `unknown`, left out
    where no request was signed.
    """
    versions = {name.partition("@")[2] or _unsigned(name): Numbers.from_dict(entry) for name, entry in entries.items()}
    return dict(sorted(versions.items())) if any("@" in name for name in entries) else {}


def _unsigned(name: str) -> str:
    return "unknown (bad images)" if name.endswith("(bad images)") else "unknown"


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value
