"""A canary within one process: each request by the stable or the new version, moved by the same loop as everywhere."""

import inspect
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, Self, TypeVar

from pydantic import ValidationError

from torchfinch.errors import TorchfinchError
from torchfinch.experiment.assignment import BUCKETS, bucket_of
from torchfinch.release.adapters import View
from torchfinch.release.controller import Controller
from torchfinch.release.local.store import FileStore, release_folder
from torchfinch.release.manifest.spec import Spec, first_fault
from torchfinch.release.state import LATENCY_EDGES, Arm, Counters, Mark, Reading, Role, State

Input = TypeVar("Input")
Answer = TypeVar("Answer")
_STEPS = {"steps": [{"weight": 10}]}
_AGAIN = 5.0
_NONE = Counters(latency_buckets=(0,) * (len(LATENCY_EDGES) + 1))
_log = logging.getLogger(__name__)


class Routed(NamedTuple, Generic[Answer]):
    """An answer and the name of the version that gave it."""

    answer: Answer
    version: str


class CanaryDeployment(Generic[Input, Answer]):
    """Answers requests by two predictors of this process, and promotes the new one or takes it back.

    `versions` are the predictors by name. At the first start `stable` serves, afterwards whichever was promoted. `spec`
    is a manifest's, without versions and route: steps, analysis and the rest. State, history and wishes are files as
    those of `torchfinch canary run` in `home`, so that `torchfinch canary` watches and steers this release too.
    It answers and looks within `with`. A request without an answer after `timeout` seconds is an error of its version.

    Raises:
        TorchfinchError: a name is that of no version, a predictor is a coroutine, or the spec is none. At `with`:
            another process has this release, or its stable version is not among `versions`.
    """

    def __init__(
        self,
        name: str,
        versions: Mapping[str, Callable[[Input], Answer]],
        *,
        stable: str,
        canary: str,
        spec: Mapping[str, Any] = _STEPS,
        timeout: float = 60.0,
        home: Path = Path(".torchfinch"),
    ) -> None:
        self._name, self._versions, self._stable = name, dict(versions), stable
        for each in (stable, canary):
            self._check(each, f"name one of {', '.join(self._versions)}")
        for each, predictor in versions.items():
            if inspect.iscoroutinefunction(predictor):
                raise TorchfinchError(f"the predictor {each} answers later, as a coroutine", "give a plain function")
        self._spec = _spec(name, spec)
        self._store = FileStore(release_folder(name, home=home.resolve()))
        self._process = _Process(canary, known=frozenset(versions), timeout=timeout)
        self._stop = threading.Event()
        self._open: ExitStack | None = None

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.enter_context(self._store.locked())
            state = self._store.load()
            self._check(state.stable or self._stable, f"it is stable: keep it, or remove {self._store.folder}")
            self._process.begin(state.stable or self._stable)
            thread = threading.Thread(target=self._look, name=f"canary-{self._name}", daemon=True)
            opening.callback(thread.join)
            opening.callback(self._stop.set)
            self._stop.clear()
            thread.start()
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        opened, self._open = self._open, None
        if opened:
            opened.close()

    @property
    def state(self) -> State:
        """Where the release stands, as the last look left it."""
        return self._store.load()

    def predict(self, request: Input, *, user: str | None = None) -> Routed[Answer]:
        """Answer a request; the same user meets the same version as long as the weight does not fall.

        Raises:
            TorchfinchError: the user is no user id, or this is not within `with`. Else whatever the predictor raises,
                which is an error of its version.
        """
        if not self._open:
            raise TorchfinchError(f"nobody judges the release {self._name}", "ask within its with block")
        version = self._process.split.version(self._name, uuid.uuid4().hex if user is None else user)
        began = self._process.began(version)
        failed = False
        try:
            answer = self._versions[version](request)
        except Exception:
            failed = True
            raise
        finally:
            self._process.ended(began, failed=failed)
        return Routed(answer, version)

    def _check(self, version: str, hint: str) -> None:
        if version not in self._versions:
            raise TorchfinchError(f"{version} is no version here", hint)

    def _look(self) -> None:
        controller = Controller(
            read_spec=lambda: self._spec, router=self._process, evidence=self._process, store=self._store
        )
        pause = 0.0
        while not self._stop.wait(pause):
            try:
                pause = controller.tick().spec.analysis.interval
            except Exception:  # noqa: BLE001  such as a full disk: who answers stays as it is, and the next look comes
                _log.exception("release %s: a look failed", self._name)
                pause = _AGAIN
        controller.finish()


def _spec(name: str, spec: Mapping[str, Any]) -> Spec:
    try:
        return Spec.model_validate({**spec, "model": name, "route": {"kind": "InProcess"}})
    except ValidationError as error:
        raise TorchfinchError(first_fault(error), "see docs/releases.md for every field") from error


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
        chosen = bucket_of(user, experiment=name, salt=self.canary) < self.weight * BUCKETS // 100
        return self.canary if chosen else self.stable


@dataclass(eq=False)
class _Request:
    version: str
    began: float
    told: bool = False
    """Whether it is counted already."""


class _Process:
    """Router and evidence of one process."""

    def __init__(self, offered: str, *, known: frozenset[str], timeout: float) -> None:
        self.split = _Split(stable="")
        self._offered, self._known, self._timeout = offered, known, timeout
        self._counted: dict[str, Counters] = {}
        self._waiting: set[_Request] = set()
        self._lock = threading.Lock()
        self._source = uuid.uuid4().hex

    def begin(self, stable: str) -> None:
        """Serve `stable` alone; the controller gives a release under way its weight back."""
        self.split = _Split(stable=stable)

    def began(self, version: str) -> _Request:
        """Note that a request waits for its answer."""
        request = _Request(version, time.perf_counter())
        with self._lock:
            self._waiting.add(request)
        return request

    def ended(self, request: _Request, *, failed: bool) -> None:
        """Count a request that was not counted as one that took too long."""
        with self._lock:
            self._waiting.discard(request)
            if not request.told:
                self._count(request.version, None if failed else time.perf_counter() - request.began)

    def _count(self, version: str, seconds: float | None) -> None:
        """Add one request; the time of one that failed (None) says nothing of a version's speed."""
        old = self._counted.get(version, _NONE)
        if seconds is None:
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
            for request in self._waiting:
                if not request.told and time.perf_counter() - request.began > self._timeout:
                    request.told = True
                    self._count(request.version, None)
            stable, canary = (self._counted.get(each, _NONE) for each in (self.split.stable, self.split.canary))
        return Reading(at=time.time(), stable={self._source: stable}, canary={self._source: canary})

    def observe(self, spec: Spec) -> View:  # noqa: ARG002  the protocol's
        """The split, and both versions."""
        split = self.split
        return View(
            weight=split.weight,
            mark=split.mark,
            stable=Arm(digest=split.stable, label=split.stable, running=True, ready=1),
            canary=Arm(digest=split.canary, label=split.canary, running=split.running, ready=int(split.running)),
            offered=self._offered,
        )

    def set_weight(self, spec: Spec, mark: Mark) -> None:  # noqa: ARG002  the protocol's
        """Weight and mark at once; a weight is that of the version that the mark names, also after a new start."""
        if mark.weight and mark.canary not in self._known:
            raise TorchfinchError(f"{mark.canary} is no version here, and gets no user")
        canary = mark.canary if mark.weight else self.split.canary
        running = self.split.running or mark.weight > 0
        self.split = replace(self.split, weight=mark.weight, mark=mark, canary=canary, running=running)

    def deploy(self, spec: Spec, role: Role, digest: str, *, fresh: bool) -> None:  # noqa: ARG002  the protocol's
        """Have a version ready, which it is by being there."""
        if digest not in self._known:
            raise TorchfinchError(f"{digest} is no version here")
        split = self.split
        stable = role == "stable"
        self.split = replace(split, stable=digest) if stable else replace(split, canary=digest, running=True)

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
        """Nothing: the mark goes with the weight, and both with the process."""
