"""A world in memory that answers as a router, an evidence source and a store do: to try policies without servers."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from pydantic import TypeAdapter

from torchfinch.errors import TorchfinchError
from torchfinch.release.adapters import Request, View
from torchfinch.release.controller import Controller
from torchfinch.release.decision.baseline import baseline_share, can_serve, with_baseline
from torchfinch.release.decision.rules import grow
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.state import LATENCY_EDGES, Arm, Counters, Mark, Reading, Role, State

_STATE = TypeAdapter(State)
_FIRST = Arm(digest="one", label="1.0", running=True, ready=1)
_NONE = Arm()
_NOTHING = Request()


@dataclass
class World:
    """Both versions, their traffic and a clock; everything may be changed by hand between two ticks."""

    name: str = "digits"
    offered: str | None = "two"
    weight: int = 0
    mirror: int = 0
    synced: bool = True
    mark: Mark | None = None
    stable: Arm = _FIRST
    canary: Arm = _NONE
    baseline: Arm | None = None
    """None for a release without one; its counts are those of `baseline`."""
    baseline_weight: int = 0
    counted: dict[str, Counters] = field(default_factory=dict)
    now: float = 1000.0
    written: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)
    asked: Request = _NOTHING
    broken: set[str] = field(default_factory=set)
    """Names of calls that fail, such as "observe", "set_weight" or "read"."""
    unable: set[str] = field(default_factory=set)
    """Digests that do not start."""
    touched: Callable[[str], None] | None = None
    """Called before and after each change, as "before save"; it may end the controller there by raising."""

    def controller(self, spec: Spec | Callable[[], Spec]) -> Controller:
        """A controller of this world that knows nothing yet."""
        read = spec if callable(spec) else lambda: spec
        return Controller(read_spec=read, router=self, evidence=self, store=self, clock=lambda: self.now)

    def serve(
        self,
        requests: int,
        *,
        error_rate: dict[str, float] | None = None,
        latency: dict[str, float] | None = None,
        random: Random | None = None,
    ) -> None:
        """Answer requests, split by the weight: exactly and with rounded errors, or by chance with `random`.

        Rates and times are those of a digest, or of `baseline`.
        """
        rates, times = error_rate or {}, latency or {}
        canary = sum(random.random() * 100 < self.weight for _ in range(requests)) if random else None
        canary = round(requests * self.weight / 100) if canary is None else canary
        copies = round(requests * self.mirror / 100)
        beside = round(requests * self.baseline_weight / 100)
        served = {
            self.stable.digest: requests - canary - beside,
            self.canary.digest: canary + copies,
            "baseline": beside,
        }
        for digest, count in served.items():
            rate = rates.get(digest, 0.0)
            failed = sum(random.random() < rate for _ in range(count)) if random else round(count * rate)
            seconds = times.get(digest, 0.01)
            new = Counters(
                requests=count,
                errors=failed,
                latency_sum=count * seconds,
                latency_count=count,
                latency_buckets=(*(count * (seconds <= edge) for edge in LATENCY_EDGES), count),
            )
            self.counted[digest] = grow(self.counted.get(digest, Counters()), new)

    # The router.

    def observe(self, spec: Spec) -> View:  # noqa: ARG002  the protocol's
        """What is set and what serves."""
        self._may("observe")
        return View(
            weight=self.weight,
            mark=self.mark,
            mirror=self.mirror,
            synced=self.synced,
            stable=self.stable,
            canary=self.canary,
            baseline=self.baseline,
            baseline_weight=self.baseline_weight,
            offered=self.offered,
        )

    def set_weight(self, spec: Spec, mark: Mark) -> None:  # noqa: ARG002  the protocol's
        """Weight, mirror and mark at once."""
        with self._change("set_weight"):
            self.weight, self.mirror, self.mark = mark.weight, mark.mirror, mark
            self._share_out()

    def balance(self, spec: Spec) -> None:  # noqa: ARG002  the protocol's
        """The baseline's share, where it can answer."""
        with self._change("balance"):
            self._share_out()

    def remark(self, spec: Spec, mark: Mark) -> None:  # noqa: ARG002  the protocol's
        """The mark alone."""
        with self._change("remark"):
            self.mark = mark

    def _share_out(self) -> None:
        share = baseline_share(weight=self.weight, mirror=self.mirror)
        serves = self.baseline and can_serve(self.baseline, stable=self.stable)
        self.baseline_weight = share if serves else 0

    def deploy(self, spec: Spec, role: Role, digest: str, *, fresh: bool) -> None:  # noqa: ARG002  the protocol's
        """Start what can be started."""
        with self._change("deploy"):
            able = digest not in self.unable
            arm = Arm(
                digest=digest, label=digest, running=able, ready=int(able), failed="" if able else "will not start"
            )
            self._put(role, arm)
            self.counted.pop("baseline" if role == "baseline" else digest, None)

    def promote(self, spec: Spec, digest: str) -> None:  # noqa: ARG002  the protocol's
        """The roles change, and with them which share of the same traffic is the canary's."""
        if self.stable.digest == digest:
            return
        if self.canary.digest != digest:
            raise TorchfinchError(f"{digest} is not there")
        with self._change("promote"):
            self.stable, self.canary, self.weight = self.canary, self.stable, 100 - self.weight

    def retire(self, spec: Spec) -> None:  # noqa: ARG002  the protocol's
        """The servers of baseline and canary end."""
        with self._change("retire"):
            if self.baseline:
                self.lose("baseline")
            self.lose("canary")

    # The evidence.

    def read(self, spec: Spec) -> Reading:  # noqa: ARG002  the protocol's
        """What was counted so far."""
        self._may("read")
        stable = {"world": self.counted.get(self.stable.digest, Counters())}
        beside = {"baseline": self.counted.get("baseline", Counters())}
        return Reading(
            at=self.now,
            stable=with_baseline(stable, beside) if self.baseline else stable,
            canary={"world": self.counted.get(self.canary.digest, Counters())},
        )

    # The store.

    def load(self) -> State:
        """The state as it was written."""
        return _STATE.validate_json(self.written) if self.written else State()

    def save(self, spec: Spec, state: State) -> None:  # noqa: ARG002  the protocol's
        """Write the state."""
        with self._change("save"):
            self.written = _STATE.dump_json(state).decode()

    def refuse(self, why: str) -> None:
        """Nothing: the error says it."""

    def append(self, record: dict[str, Any]) -> None:
        """Write a history line, as text would keep it."""
        with self._change("append"):
            self.history.append(json.loads(json.dumps(record)))

    def request(self) -> Request:
        """What a person asked."""
        return self.asked

    def restart_router(self) -> None:
        """Lose weights, mirror, mark and counters, as a router's own restart does."""
        self.weight, self.mirror, self.mark = 0, 0, None
        self.counted.clear()

    def lose(self, role: Role) -> None:
        """End the server of this role."""
        arm = {"stable": self.stable, "canary": self.canary, "baseline": self.baseline}[role]
        self._put(role, replace(arm or _NONE, running=False, ready=0))

    def _put(self, role: Role, arm: Arm) -> None:
        if role == "stable":
            self.stable = arm
        elif role == "canary":
            self.canary = arm
        else:
            self.baseline = arm

    def _may(self, call: str) -> None:
        if call in self.broken:
            raise TorchfinchError(f"{call} is broken")

    @contextmanager
    def _change(self, call: str) -> Iterator[None]:
        self._may(call)
        if self.touched:
            self.touched(f"before {call}")
        yield
        if self.touched:
            self.touched(f"after {call}")
