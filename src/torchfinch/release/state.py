"""The values of a release: what is seen, what is remembered, what is decided. Nothing here does anything."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

Role = Literal["stable", "canary", "baseline"]
"""`baseline`: a copy of stable, loaded like the canary (see `baseline`)."""
Verdict = Literal["pass", "fail", "hold", "skip"]
"""`hold`: not enough to tell yet. `skip`: cannot be evaluated here, so neither for nor against."""
Unit = Literal["number", "share", "seconds", "odds"]
"""What a number counts; `odds` of N: equal versions show so much in 1 of N releases."""


class Phase(StrEnum):
    """Where a release stands. The last three are ends, from which only a person or a new canary leads on."""

    SHADOWING = "Shadowing"
    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    PROMOTING = "Promoting"
    ROLLING_BACK = "RollingBack"
    IDLE = "Idle"
    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"


JUDGED = frozenset({Phase.SHADOWING, Phase.PROGRESSING})
UNDERWAY = JUDGED | {Phase.PAUSED, Phase.PROMOTING}

LATENCY_EDGES = (*(float(f"{0.001 * 1.2**step:.4g}") for step in range(51)), 10.0)
"""Upper edges of the latency buckets, seconds: a factor 1.2 apart from 1 ms to 10 s, as in the SDK's metrics."""
QUANTILES = (0.5, 0.9, 0.99)
"""Of stable's past latencies: where the canary's must not lie higher."""


@dataclass(frozen=True, kw_only=True)
class Counters:
    """What one version answered, as counts that only grow.

    `errors` are 5xx, resets and timeouts; `client_errors` are 4xx; latency is in seconds over `latency_count` answers.
    `latency_buckets` has, for each of `LATENCY_EDGES`, the answers that took no longer, and last all that were timed;
    it is empty where no histogram is measured. `error_blocks` counts blocks of ten requests with at least one error
    (see `rules.grow`); `block_failed` says whether the block not yet full is one of them. `classes` are predictions by
    class (see `predicted`), `confidences` those that were no surer than each twentieth, and last all; both are empty
    where no handler tells them.
    """

    requests: int = 0
    errors: int = 0
    client_errors: int = 0
    latency_sum: float = 0.0
    latency_count: int = 0
    latency_buckets: tuple[int, ...] = ()
    error_blocks: int = 0
    block_failed: bool = False
    classes: tuple[int, ...] = ()
    confidences: tuple[int, ...] = ()

    @property
    def error_rate(self) -> float:
        """Errors per request; 0 without requests."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def client_error_rate(self) -> float:
        """4xx answers per request; 0 without requests."""
        return self.client_errors / self.requests if self.requests else 0.0

    @property
    def mean_latency(self) -> float | None:
        """Seconds; None where no answer was timed."""
        return self.latency_sum / self.latency_count if self.latency_count else None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The same counts of both versions."""

    stable: Counters = Counters()
    canary: Counters = Counters()


@dataclass(frozen=True, kw_only=True)
class Bet:
    """A game that nobody can expect to win where the canary is no worse (see `sequential`); its wealth is evidence."""

    log_wealth: float = 0.0
    """Natural logarithm; every bet begins with 1."""
    gains: float = 0.0
    squares: float = 0.0
    """Sums of what a stake of one would have won, and of its squares."""
    events: float = 0.0
    looks: float = 0.0
    """The canary's events, and the looks that had any."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What speaks against the canary since the release began; gathered by the policy `sequential`."""

    counted: Pair = Pair()
    """The totals that have been compared."""
    limited: Counters | None = None
    """The canary's that the limit has been tested by; None for those of `counted`, as an older controller wrote."""
    bets: Mapping[str, Bet] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Counters of both versions as their sources show them: a proxy, or each pod.

    Every source counts from its own start, and has a new name when it has started again.
    """

    at: float
    stable: Mapping[str, Counters]
    canary: Mapping[str, Counters]
    untold: tuple[str, ...] = ()
    """Sources that are there and were not read, such as pods not yet ready; in a state, since the first reading."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One version's servers as they are now."""

    digest: str = ""
    """What is meant to run there; empty where nothing ever was."""
    label: str = ""
    """The version in a person's words."""
    running: bool = False
    ready: int | None = 0
    """Endpoints that can answer; None where it cannot be told."""
    failed: str = ""
    """Why this digest could not be started."""
    lacks: str = ""
    """What is missing until it is ready, where that can be told."""
    archive: str = ""
    """SHA-256 of the archive that is served, where it is known."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """The controller's own record beside the weights, set in the same request as they are.

    A successor after a kill knows its own work by it, and only a weight that differs from it is a person's edit.
    """

    revision: int
    phase: Phase
    canary: str
    weight: int
    reason: str
    action: str = ""
    """Id of the last action carried out."""
    mirror: int = 0
    """Percent of the requests whose copies go to the canary."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What an external check was told."""

    name: str
    at: float
    """When it was asked."""
    revision: int
    """The state's, when it was asked: what was told of another step says nothing of this one."""
    value: float | None = None
    problem: str = ""
    """Why there is no value."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What the same inputs showed, sent to both versions before the canary's first weight."""

    at: float
    """When all of them were answered."""
    revision: int
    """The state's, when they were sent."""
    requests: int = 0
    """That at least one version answered."""
    disagreements: int = 0
    confidence_change: float | None = None
    """How much higher the canary's is, on average; None where answers have none."""
    latency_ratio: float = 1.0
    """The canary's, as a multiple of stable's."""
    farthest: str = ""
    """The input with the greatest disagreement, and both answers."""
    problem: str = ""
    """Why nothing is known."""

    @property
    def share(self) -> float:
        """Of the requests, those with a disagreement."""
        return self.disagreements / self.requests


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Everything measured for one decision."""

    offered: str | None = None
    """Digest of the canary that the manifest names; empty for none, None where it cannot be read."""
    weight: int | None = None
    """The canary's percentage in the router; None where it cannot be read."""
    mark: Mark | None = None
    """None where the router has lost it, as after its restart."""
    mirror: int = 0
    """Percent of the requests whose copies the router sends to the canary."""
    synced: bool = True
    """Whether what routes has taken up what is set."""
    stable: Arm = Arm()
    canary: Arm = Arm()
    baseline: Arm | None = None
    """None for a release without one."""
    baseline_weight: int = 0
    """Its percentage in the router."""
    reading: Reading | None = None
    findings: tuple[Finding, ...] = ()
    compared: Compared | None = None
    trouble: tuple[str, ...] = ()
    """What could not be seen, for people."""

    @property
    def beside_stable(self) -> bool:
        """Whether servers of the canary or of the baseline run."""
        return self.canary.running or bool(self.baseline and self.baseline.running)


@dataclass(frozen=True, kw_only=True)
class State:
    """All that survives the controller."""

    phase: Phase = Phase.IDLE
    reason: str = "no release yet"
    stable: str = ""
    canary: str = ""
    """Digest of the release under way, or of the last one."""
    weight: int = 0
    """The weight that this release has reached; the router never shows more."""
    mirror: int = 0
    """Percent of the requests whose copies go to the canary; only at weight 0, before the first step."""
    hand: int | None = None
    """The weight to which a person lowered the canary in the router."""
    revision: int = 0
    """Grows with every change of phase or weight."""
    verified: bool = False
    """Whether the router has been seen with `weight`; a step's evidence counts from there."""
    done: tuple[str, ...] = ()
    """Ids of actions carried out."""
    at: float = 0.0
    """Time of the last look, in seconds since 1970."""
    started: float = 0.0
    ended: float | None = None
    in_step: float = 0.0
    """Seconds watched since the step was verified."""
    stuck: float = 0.0
    """Seconds watched since something last moved forward, but for pauses and the step's own duration."""
    last: Reading | None = None
    """The newest counters of every source that was ever read in this release."""
    total: Pair = Pair()
    """Since the release started."""
    at_step: Pair = Pair()
    """`total` when the step was verified."""
    evidence: Evidence = field(default_factory=Evidence)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One comparison of the rule, with its numbers."""

    name: str
    value: float | None
    limit: float | None
    verdict: Verdict
    note: str = ""
    condition: str = ""
    """How value and limit are compared; empty for: the value must not be over the limit."""
    unit: Unit = "number"
    basis: str = ""
    """What the limit was made from, where the manifest has another number."""


@dataclass(frozen=True, kw_only=True)
class SetWeight:
    """Send `mark.weight` percent to the canary and copies of `mark.mirror` percent, and leave the mark with it."""

    mark: Mark


@dataclass(frozen=True, kw_only=True)
class Deploy:
    """Have this digest run in this role; a server that already does stays, unless it must be `fresh`."""

    role: Role
    digest: str
    fresh: bool = False


@dataclass(frozen=True, kw_only=True)
class Promote:
    """Make this digest the stable one."""

    digest: str


@dataclass(frozen=True, kw_only=True)
class Retire:
    """End the servers of canary and baseline; they have no traffic, and no release is under way."""


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Give the baseline its share at the weight that is set: none where it cannot answer."""


@dataclass(frozen=True, kw_only=True)
class Remark:
    """Leave the mark again, which somebody took away, beside the weights as they are."""

    mark: Mark


Act = SetWeight | Deploy | Promote | Retire | Balance | Remark


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The state to keep, the actions to take (each may be repeated without harm), and why."""

    state: State
    actions: tuple[Act, ...] = ()
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = field(default=())
    """What a person should know beside `state.reason`: edits seen, wishes that did not apply."""
