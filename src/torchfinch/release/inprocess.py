"""A canary within one process: each request by the stable or the new version, moved by the same loop as everywhere."""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, Self, TypeVar

from pydantic import ValidationError

from torchfinch.errors import TorchfinchError
from torchfinch.experiment.assignment import BUCKETS, bucket_of
from torchfinch.release.adapters import View
from torchfinch.release.controller import Controller, Tick
from torchfinch.release.local.store import FileStore, release_folder
from torchfinch.release.manifest.spec import Spec, first_fault
from torchfinch.release.state import LATENCY_EDGES, Arm, Counters, Mark, Reading, Role, State

Input = TypeVar("Input")
Answer = TypeVar("Answer")
_AGAIN = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Split:
    """Which versions answer, and how many of the users the canary has; replaced as a whole, never changed."""

    stable: str
    canary: str = ""
    running: bool = False
    """Whether the canary may get users."""
    weight: int = 0
    mark: Mark | None = None

    def version(self, name: str, user: str) -> str:
        share = bucket_of(user, experiment=name, salt=self.canary) if self.weight else BUCKETS
        return self.canary if share < self.weight * BUCKETS // 100 else self.stable


class _Process:
    """Router and evidence of one process."""

    def __init__(self, stable: str, offered: str) -> None:
        self.split = _Split(stable=stable)
        self._offered = offered
        self._counted: dict[str, Counters] = {}
        self._lock = threading.Lock()
        self._source = uuid.uuid4().hex

    def count(self, version: str, seconds: float, *, failed: bool) -> None:
        """Add one request; the time of one that failed says nothing of a version's speed."""
        with self._lock:
            old = self._counted.get(version, Counters(latency_buckets=(0,) * (len(LATENCY_EDGES) + 1)))
            if failed:
                self._counted[version] = replace(old, requests=old.requests + 1, errors=old.errors + 1)
                return
            within = (*(seconds <= edge for edge in LATENCY_EDGES), True)
            self._counted[version] = replace(
                old,
                requests=old.requests + 1,
                latency_sum=old.latency_sum + seconds,
                latency_count=old.latency_count + 1,
                latency_buckets=tuple(map(sum, zip(old.latency_buckets, within, strict=True))),
            )

    def read(self, spec: Spec) -> Reading:  # noqa: ARG002  the protocol's
        """What was counted since the start of the process."""
        with self._lock:
            stable, canary = (self._counted.get(each, Counters()) for each in (self.split.stable, self.split.canary))
        return Reading(at=time.time(), stable={self._source: stable}, canary={self._source: canary})

    def observe(self, spec: Spec) -> View:  # noqa: ARG002  the protocol's
        """The split, and both versions."""
        split = self.split
        running = split.running
        return View(
            weight=split.weight,
            mark=split.mark,
            stable=Arm(digest=split.stable, label=split.stable, running=True, ready=1),
            canary=Arm(digest=split.canary, label=split.canary, running=running, ready=int(running)),
            offered=self._offered,
        )

    def set_weight(self, spec: Spec, mark: Mark) -> None:  # noqa: ARG002  the protocol's
        """Weight and mark at once."""
        self.split = replace(self.split, weight=mark.weight, mark=mark)

    def deploy(self, spec: Spec, role: Role, digest: str, *, fresh: bool) -> None:  # noqa: ARG002  the protocol's
        """Have a version ready, which it is by being there."""
        change = {"stable": digest} if role == "stable" else {"canary": digest, "running": True}
        self.split = replace(self.split, **change)

    def promote(self, spec: Spec, digest: str) -> None:  # noqa: ARG002  the protocol's
        """Let the two change roles; who answers whom stays."""
        split = self.split
        if split.stable != digest:
            self.split = replace(split, stable=split.canary, canary=split.stable, weight=100 - split.weight)

    def retire(self, spec: Spec) -> None:  # noqa: ARG002  the protocol's
        """Offer the canary to nobody any more."""
        self.split = replace(self.split, running=False)

    def balance(self, spec: Spec) -> None:
        """Nothing: one process has no baseline."""

    def remark(self, spec: Spec, mark: Mark) -> None:
        """Nothing: weight and mark are one value."""


class Routed(NamedTuple, Generic[Answer]):
    """An answer and the name of the version that gave it."""

    answer: Answer
    version: str


class CanaryDeployment(Generic[Input, Answer]):
    """Answers requests by two predictors of this process, and promotes the new one or takes it back.

    `versions` are the predictors by name; `weights` are percent of the users, rising; `analysis` is a manifest's. At
    the first start `stable` serves, afterwards whichever was promoted. State, history and wishes are files as those of
    `torchfinch canary run` in `home`, so that `torchfinch canary` watches and steers this release too. Between `with`
    and its end a thread looks every `analysis.interval`.

    Raises:
        TorchfinchError: a name is that of no version, weights or analysis are none, or, at `with`, another process has
            this release.
    """

    def __init__(
        self,
        name: str,
        versions: Mapping[str, Callable[[Input], Answer]],
        *,
        stable: str,
        canary: str,
        weights: Sequence[int] = (10,),
        analysis: Mapping[str, Any] | None = None,
        home: Path = Path(".torchfinch"),
    ) -> None:
        self._name = name
        self._versions = dict(versions)
        self._store = FileStore(release_folder(name, home=home))
        serving = self._store.load().stable or stable
        for each in (serving, canary):
            if each not in self._versions:
                raise TorchfinchError(f"{each} is no version here (known: {', '.join(self._versions)})")
        spec = _spec(name, weights, analysis or {})
        self._store.folder.mkdir(parents=True, exist_ok=True)
        self._process = _Process(serving, canary)
        self._controller = Controller(
            read_spec=lambda: spec, router=self._process, evidence=self._process, store=self._store
        )
        self._stop = threading.Event()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(self._store.locked())
        self._stop.clear()
        thread = threading.Thread(target=self._run, name=f"canary-{self._name}", daemon=True)
        self._open.callback(thread.join)
        self._open.callback(self._stop.set)
        thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def state(self) -> State:
        """Where the release stands, as the last look left it."""
        return self._store.load()

    def predict(self, request: Input, *, user: str | None = None) -> Routed[Answer]:
        """Answer a request; the same user meets the same version as long as the weight does not fall.

        Raises whatever the predictor raises, which is counted as an error of its version.
        """
        version = self._process.split.version(self._name, user or uuid.uuid4().hex)
        start, failed = time.perf_counter(), True
        try:
            answer = self._versions[version](request)
            failed = False
        finally:
            self._process.count(version, time.perf_counter() - start, failed=failed)
        return Routed(answer, version)

    def look(self) -> Tick:
        """One turn of the controller, for those who want no thread; nothing keeps a second process out then."""
        return self._controller.tick()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._controller.run(until=lambda _tick: self._stop.is_set(), sleep=self._pause)
            except Exception:  # noqa: BLE001  such as a full disk: who answers stays as it is, and the next look comes
                _log.exception("release %s: a look failed", self._name)
                self._pause(_AGAIN)

    def _pause(self, seconds: float) -> None:
        self._stop.wait(seconds)


def _spec(name: str, weights: Sequence[int], analysis: Mapping[str, Any]) -> Spec:
    steps = [{"weight": weight} for weight in weights]
    try:
        return Spec.model_validate(
            {"model": name, "route": {"kind": "InProcess"}, "steps": steps, "analysis": analysis}
        )
    except ValidationError as error:
        raise TorchfinchError(first_fault(error), "see docs/releases.md for every field") from error
