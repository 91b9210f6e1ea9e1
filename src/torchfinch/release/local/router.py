"""The router of one machine: two slots behind one Envoy, whose roles change at a promotion."""

import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from torchfinch.errors import TorchfinchError
from torchfinch.files import write_whole
from torchfinch.release.adapters import View
from torchfinch.release.local.archives import Archives
from torchfinch.release.local.bootstrap import Routing
from torchfinch.release.local.envoy import Envoy
from torchfinch.release.local.slots import SLOTS, Place, Slot, SlotFile, Table
from torchfinch.release.manifest.backends import EnvoyRoute
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.state import Arm, Mark, Role
from torchfinch.serving.config import check_free

_MARK = TypeAdapter(Mark)
_DRAIN_SECONDS = 120.0
_SEEN_SECONDS = 10.0


class Servers(Protocol):
    """Starts what serves in a slot. On one machine these are TorchServes; tests use small HTTP servers."""

    def start(self, spec: Spec, slot: str, archive: Path) -> str:
        """Serve `archive` in `slot`, wait until it can answer, return its address as host:port.

        Raises `TorchfinchError` where it cannot be served.
        """

    def stop(self, slot: str) -> None:
        """End what runs in `slot`, if anything does."""

    def running(self, slot: str) -> bool:
        """Whether the server's process is there."""

    def ready(self, spec: Spec, slot: str) -> int | None:
        """1 if it can answer, 0 if not, None where it does not tell."""

    def label(self, archive: Path) -> str:
        """The version in `archive` in a person's words."""

    def metrics(self, slot: str) -> str:
        """What the server says of itself, in Prometheus' text format; empty where it says nothing.

        Raises `TorchfinchError` where it does not answer in time.
        """


class EnvoyRouter:
    """Two slots behind one Envoy. Which slot is stable is kept in `slots.json`, and a promotion changes just that."""

    def __init__(self, folder: Path, servers: Servers) -> None:
        self.envoy = Envoy(folder)
        self._servers = servers
        self._slots = SlotFile(folder / "slots.json")
        self._folder = folder
        self._archives = Archives(folder / "archives")

    def prepare(self, spec: Spec) -> None:
        """Have a stable version and Envoy run; what runs already stays as it is.

        Raises:
            TorchfinchError: the route's port is taken, or the first stable version cannot be served. A later one that
                cannot is the controller's to tell.
        """
        route, table = edge(spec), self.table()
        if not self.envoy.process:
            self._check_port(route)
        if table.stable == "a" and not (table.a.address or table.b.digest):  # nothing was ever served
            if spec.stable is None:
                raise TorchfinchError("there is no stable version yet and spec.stable names none", "name an archive")
            self.deploy(spec, "stable", self._archives.digest(spec.stable.archive or ""), fresh=False)
        elif not self._arm(spec, table, "stable").running:
            with suppress(TorchfinchError):
                self.deploy(spec, "stable", table.place(table.stable).digest, fresh=False)
        self._ensure_envoy(spec)

    def observe(self, spec: Spec) -> View:
        """Read weights, mark and both versions; an Envoy that has ended is started again."""
        self._ensure_envoy(spec)
        table = self.table()
        canary, trouble = table.slot("canary"), []
        if not self.envoy.serves(edge(spec), spec.force):
            what = "spec.route or spec.force has changed"
            trouble.append(f"{what}, which takes effect after torchfinch canary stop")
        routing = self.envoy.routing()
        mark = _read_mark(routing.mark)
        if not sum(routing.weights.values()):
            trouble.append("both weights were 0, so nothing was served: put back")
            self.envoy.set_routing(self._routing(mark))
            routing = self.envoy.routing()
        try:
            offered = self._archives.digest(spec.canary.archive or "") if spec.canary else ""
        except TorchfinchError as error:
            offered = None
            trouble.append(str(error))
        return View(
            weight=round(100 * routing.weights[canary] / sum(routing.weights.values())),
            mark=mark,
            mirror=routing.mirrored[canary],
            stable=self._arm(spec, table, "stable"),
            canary=self._arm(spec, table, "canary"),
            offered=offered,
            trouble=tuple(trouble),
        )

    def set_weight(self, spec: Spec, mark: Mark) -> None:  # noqa: ARG002  the protocol's
        """Both weights, the mirror, what requests may choose, and the mark, in one request."""
        self.envoy.set_routing(self._routing(mark))

    def deploy(self, spec: Spec, role: Role, digest: str, *, fresh: bool) -> None:
        """Serve `digest` in the role's slot.

        The slot's old server is stopped before anything says that the new digest is there, so that a kill between
        the two never lets an old version pass for the new one.
        """
        slot = self.table().slot(role)
        if not fresh and self.table().place(slot).digest == digest and self._arm(spec, self.table(), role).ready:
            return
        source = spec.stable if role == "stable" else spec.canary
        archive = self._archives.fetch(digest, source=source.archive if source else None)
        self._drain(slot)
        self._servers.stop(slot)
        place = Place(digest=digest)
        self._slots.place(slot, place)
        try:
            place = replace(place, label=self._servers.label(archive))
            address = self._servers.start(spec, slot, archive)
        except TorchfinchError as error:
            told = self._in_one_line(error, slot)
            self._slots.place(slot, replace(place, failed=told))
            raise TorchfinchError(told, error.hint) from error
        self.envoy.set_endpoint(slot, address)
        self._await_seen(slot, address)
        self._slots.place(slot, replace(place, address=address))
        self._archives.keep({self.table().a.digest, self.table().b.digest})

    def promote(self, spec: Spec, digest: str) -> None:  # noqa: ARG002  the protocol's
        """Let the slots change roles; what serves goes on serving, and Envoy's weights are right as they are."""
        table = self.table()
        if table.place(table.stable).digest == digest:
            return
        canary = table.slot("canary")
        if table.place(canary).digest != digest:
            raise TorchfinchError(f"cannot promote {digest[:12]}: it is in neither slot")
        self._slots.write(replace(table, stable=canary))

    def metrics(self, slot: Slot) -> str:
        """What the server in this slot says of itself."""
        return self._servers.metrics(slot)

    def retire(self, spec: Spec) -> None:  # noqa: ARG002  the protocol's
        """End the server in the canary's slot."""
        slot = self.table().slot("canary")
        self._drain(slot)
        self._servers.stop(slot)

    def balance(self, spec: Spec) -> None:
        """Nothing: one machine has no baseline."""

    def remark(self, spec: Spec, mark: Mark) -> None:
        """Nothing: Envoy loses weights and mark together."""

    def stop(self) -> None:
        """End Envoy and both servers."""
        self.envoy.stop()
        for slot in SLOTS:
            self._servers.stop(slot)

    def _arm(self, spec: Spec, table: Table, role: Role) -> Arm:
        slot = table.slot(role)
        place = table.place(slot)
        running = bool(place.address) and self._servers.running(slot)
        ready = self._servers.ready(spec, slot) if running else 0
        return Arm(digest=place.digest, label=place.label, running=running, ready=ready, failed=place.failed)

    def _in_one_line(self, error: TorchfinchError, slot: Slot) -> str:
        """The first and the last line of what was said; all of it, such as a traceback, is kept in a file."""
        first, *rest = error.message.strip().splitlines()
        if not rest:
            return first
        log = self._folder / f"failed-{slot}.log"
        write_whole(log, error.message + "\n")
        return f"{first} {rest[-1].strip()} (all of it: {log})"

    def _check_port(self, route: EnvoyRoute) -> None:
        """Say that the port is taken before any server is started for it."""
        try:
            check_free(f"//{route.host}:{route.port}")
        except TorchfinchError as error:
            hint = f"set another spec.route.port, or end what listens on {route.host}:{route.port}"
            raise TorchfinchError(error.message, hint) from error

    def _ensure_envoy(self, spec: Spec) -> None:
        self.envoy.start(edge(spec), spec.force, self._routing(None))

    def _routing(self, mark: Mark | None) -> Routing:
        """What a mark asks for. A canary can be chosen while it has a weight, so that a rollback ends that too."""
        table, weight = self.table(), mark.weight if mark else 0
        stable, canary = table.slot("stable"), table.slot("canary")
        return Routing(
            weights={stable: 100 - weight, canary: weight},
            mirrored={canary: mark.mirror if mark else 0},
            forced={"stable": stable, **({"canary": canary} if weight else {})},
            mark=_MARK.dump_json(mark).decode() if mark else "",
        )

    def _drain(self, slot: Slot) -> None:
        """Wait for the slot's last answers, so that ending its server fails no request."""
        end = time.monotonic() + _DRAIN_SECONDS
        while self.envoy.process and time.monotonic() < end:
            if not self.envoy.active(slot):
                return
            time.sleep(0.1)

    def _await_seen(self, slot: Slot, address: str) -> None:
        end = time.monotonic() + _SEEN_SECONDS
        while self.envoy.process and not self.envoy.knows(slot, address):
            if time.monotonic() > end:
                raise TorchfinchError(f"Envoy did not take up {address} within {_SEEN_SECONDS:.0f} s")
            time.sleep(0.05)

    def table(self) -> Table:
        """What is in the slots, and which is stable. Raises `TorchfinchError` where that cannot be read."""
        return self._slots.read()


def edge(spec: Spec) -> EnvoyRoute:
    """The route of a release on one machine.

    Raises:
        TorchfinchError: the manifest is for a cluster.
    """
    if not isinstance(spec.route, EnvoyRoute):
        hint = "torchfinch.release.inprocess" if spec.route.kind == "InProcess" else "kubectl apply -f MANIFEST"
        raise TorchfinchError(f"spec.route.kind {spec.route.kind} is not for this command", hint)
    for name, source in (("stable", spec.stable), ("canary", spec.canary)):
        if source and not source.archive:
            raise TorchfinchError(f"spec.{name} names a Deployment; on one machine it names an archive")
    return spec.route


def _read_mark(text: str) -> Mark | None:
    try:
        return _MARK.validate_json(text) if text else None
    except ValidationError:
        return None
