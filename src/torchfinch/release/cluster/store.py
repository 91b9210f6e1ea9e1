"""The store of a cluster: the status of the custom resource, Events, and a line of JSON for every decision."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from torchfinch.release.adapters import Request, View
from torchfinch.release.cluster.api import Api, ApiError, Object
from torchfinch.release.cluster.cache import Cache
from torchfinch.release.cluster.kinds import EVENTS, RELEASES
from torchfinch.release.cluster.status import DECISIONS, build_status, moment, read_state, refused, settled
from torchfinch.release.history import append_record, put_aside
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.state import UNDERWAY, Phase, State
from torchfinch.release.view import is_decision

_WARNINGS = {str(Phase.ROLLING_BACK), str(Phase.ROLLED_BACK)}


class StatusStore:
    """What is remembered of one release; with `records` every look too, in that folder as `NAMESPACE/NAME.jsonl`."""

    def __init__(
        self,
        api: Api,
        cache: Cache,
        *,
        namespace: str,
        name: str,
        view: Callable[[], View | None],
        measured: Callable[[], str],
        log: TextIO = sys.stdout,
        records: Path | None = None,
    ) -> None:
        self._api = api
        self._cache = cache
        self._namespace = namespace
        self._name = name
        self._view = view
        self._measured = measured
        self._log = log
        self._history = records / namespace / f"{name}.jsonl" if records else None
        self._unrecorded = ""
        self._before: dict[str, Any] | None = None
        self._decided: list[Object] = []
        self._checks: list[Object] | None = None

    @property
    def name(self) -> str:
        """The release's, with its namespace."""
        return f"{self._namespace}/{self._name}"

    def load(self) -> State:
        """The state in the status."""
        return read_state(self._status())

    def save(self, spec: Spec, state: State) -> None:
        """Write the status, unless the resource has changed meanwhile, or nothing has."""
        found = self._found()
        status = build_status(
            state,
            spec=spec,
            view=self._view(),
            measured=self._measured() if state.phase in UNDERWAY else None,
            generation=found["metadata"]["generation"],
            before=self._status(),
        )
        status["checks"] = self._status().get("checks", []) if self._checks is None else self._checks
        status["decisions"] = [*status["decisions"], *self._decided][-DECISIONS:]
        if settled(status) == settled(self._status()) and state.phase not in UNDERWAY:
            return
        gone = dict.fromkeys(self._status().keys() - status.keys())  # a merge patch keeps what it does not name
        self._write(found, {**status, **gone})
        self._decided = []

    def refuse(self, why: str) -> None:
        """Say in the status that the spec cannot be read, so that the release is not driven; the rest of it stays."""
        found, before = self._found(), self._status()
        status = refused(why, generation=found["metadata"]["generation"], before=before, at=time.time())
        if any(before.get(key) != value for key, value in status.items()):
            self._write(found, status)

    def _write(self, found: Object, status: Object) -> None:
        path = RELEASES.path(self._namespace, self._name, "status")
        body = {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}, "status": status}
        try:
            self._cache.put(RELEASES, self._api.merge(path, body))
        except ApiError as error:
            if error.status == 409:
                self._cache.put(RELEASES, self._api.get(RELEASES.path(self._namespace, self._name)))
            raise

    def append(self, record: dict[str, Any]) -> None:
        """Log a turn that decided something, keep it for the status, and tell it as an Event."""
        if self._history:
            self._keep(self._history, record)
        if record["checks"] or record["phase"] in UNDERWAY:  # after its end, those that ended it stay to be read
            self._checks = record["checks"]
        news = is_decision(record, self._before or {**record, **self._known()})
        self._before = record
        if not news:
            return
        line = {key: value for key, value in record.items() if key != "input"}
        print(json.dumps({"release": self.name, **line}), file=self._log, flush=True)
        why = "; ".join(dict.fromkeys([record["reason"], *record["notes"], *record["trouble"]]))
        summary = {key: record[key] for key in ("phase", "step", "weight", "reason")}
        counted = {
            arm: {key: record[arm][key] for key in ("requests", "errors", "latency_sum", "latency_count")}
            for arm in ("stable", "canary")
        }
        self._decided.append({"time": moment(record["time"]), **summary, **counted, "notes": why})
        self._tell(record["phase"], why, warns=record["phase"] in _WARNINGS or bool(record["trouble"]))

    def _keep(self, history: Path, record: dict[str, Any]) -> None:
        """Add the look to its history; a disk that is full stops no decision, and is told once."""
        trouble = ""
        try:
            history.parent.mkdir(parents=True, exist_ok=True)
            if record["input"].keys() >= {"spec", "state"}:  # one that can be decided again without those before it
                put_aside(history)
            append_record(history, record)
        except OSError as error:
            trouble = f"a look is not recorded: {error}"
        if trouble and trouble != self._unrecorded:
            self._say(trouble)
        self._unrecorded = trouble

    def _known(self) -> dict[str, Any]:
        """What an earlier controller said last: a start is no news."""
        status = self._status()
        return {"phase": status.get("phase"), "weight": status.get("weight"), "notes": (), "trouble": (), "actions": []}

    def request(self) -> Request:
        """Everything that a person asks for is in the spec."""
        return Request()

    def _tell(self, phase: str, why: str, *, warns: bool) -> None:
        found = self._found()
        event = {
            "apiVersion": "events.k8s.io/v1",
            "kind": EVENTS.name,
            "metadata": {"name": f"{self._name}.{time.time_ns():x}", "namespace": self._namespace},
            "eventTime": moment(time.time()).replace("Z", ".000000Z"),
            "reportingController": "torchfinch.dev/controller",
            "reportingInstance": "torchfinch",
            "action": "Decide",
            "reason": phase,
            "note": why[:1000],
            "type": "Warning" if warns else "Normal",
            "regarding": {
                "apiVersion": f"{RELEASES.group}/{RELEASES.version}",
                "kind": RELEASES.name,
                "name": self._name,
                "namespace": self._namespace,
                "uid": found["metadata"]["uid"],
            },
        }
        try:
            self._api.create(EVENTS.path(self._namespace), event)
        except ApiError as error:  # an Event that is lost changes no decision
            self._say(str(error))

    def _say(self, trouble: str) -> None:
        print(json.dumps({"release": self.name, "trouble": trouble}), file=self._log, flush=True)

    def _found(self) -> Object:
        found = self._cache.get(RELEASES, self._namespace, self._name)
        if found is None:
            raise ApiError(f"CanaryRelease {self._name} is gone", 404)
        return found

    def _status(self) -> Object:
        return dict(self._found().get("status", {}))
