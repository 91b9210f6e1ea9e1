"""What the controller needs from the world: a router, evidence and a store.

On one machine these are Envoy, its statistics and a folder; on a cluster they are a route, a metrics source and the
status of the custom resource. Every call may be repeated, and may raise `TorchfinchError`. The spec that a call gets is
the last good one, so that a broken edit stops no rollback.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from torchfinch.release.manifest.spec import Action, Spec
from torchfinch.release.state import Arm, Mark, Reading, Role, State


@dataclass(frozen=True, kw_only=True)
class View:
    """What a router shows: the canary's percentage, the controller's own mark beside it, and both versions."""

    weight: int | None
    mark: Mark | None
    stable: Arm
    canary: Arm
    offered: str | None
    """Digest of the canary that the spec offers; empty for none, None where it cannot be read."""
    mirror: int = 0
    """Percent of the requests whose copies go to the canary."""
    synced: bool = True
    """Whether what routes has taken up what is set."""
    trouble: tuple[str, ...] = ()
    baseline: Arm | None = None
    """None for a release without one."""
    baseline_weight: int = 0
    """Its percentage."""


class Router(Protocol):
    """Splits the traffic, and knows what serves behind each part of it."""

    def observe(self, spec: Spec) -> View:
        """Read weights, mark and versions; changes nothing that serves."""

    def set_weight(self, spec: Spec, mark: Mark) -> None:
        """Send `mark.weight` percent to the canary and copies of `mark.mirror` percent, and keep the mark.

        All in one request that happens or does not.
        """

    def deploy(self, spec: Spec, role: Role, digest: str, *, fresh: bool) -> None:
        """Have `digest` run in `role`, and return when it can answer or has failed, which `observe` then tells.

        A server that runs it already stays, unless it must be `fresh`. Called for the canary only at weight 0.
        """

    def promote(self, spec: Spec, digest: str) -> None:
        """Make `digest` the stable version; does nothing where it is already.

        May return before it is done, which `observe` then tells, and is called again until it is.
        """

    def retire(self, spec: Spec) -> None:
        """End the servers of canary and baseline."""

    def balance(self, spec: Spec) -> None:
        """Give the baseline its share at the weight that is set; called only where the spec has one."""

    def remark(self, spec: Spec, mark: Mark) -> None:
        """Keep the mark, and leave the weights as they are; called only on a cluster."""


class Evidence(Protocol):
    """Counts what both versions answered."""

    def read(self, spec: Spec) -> Reading:
        """Cumulative counters and the time for which they hold."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asked of a running controller, beside the manifest."""

    paused: bool = False
    action: Action | None = None


class Outcomes(Protocol):
    """Is told how releases end, such as a registry of models. What was told may be told again."""

    def promoted(self, digest: str) -> None:
        """The version is stable now: the archive's SHA-256, or the Deployment's digest where that is not known."""

    def rolled_back(self, digest: str, reason: str) -> None:
        """The version was taken back."""


class Store(Protocol):
    """Keeps what must survive."""

    @property
    def name(self) -> str:
        """The release's, for people."""

    def load(self) -> State:
        """The last state saved; a new one where there is none."""

    def save(self, spec: Spec, state: State) -> None:
        """Keep `state`, whole or not at all."""

    def refuse(self, why: str) -> None:
        """Tell people that nothing is decided, for there is no spec that can be read."""

    def append(self, record: dict[str, Any]) -> None:
        """Add one line to the history."""

    def request(self) -> Request:
        """What a person asked for last."""
