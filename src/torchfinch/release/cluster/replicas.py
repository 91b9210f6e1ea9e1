"""The fallback without a router: one Service over all pods, so that the share of pods is the share of traffic.

With N pods only multiples of 1/N exist. A split is come to step by step: the side that grows does so at once, and the
other gives away no more pods than are ready in their place. The annotation says which weight is meant and which numbers
were set for it; any other is a person's or an autoscaler's.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torchfinch.errors import TorchfinchError
from torchfinch.release.cluster.api import Object
from torchfinch.release.cluster.kinds import DEPLOYMENTS
from torchfinch.release.cluster.marks import ANNOTATION, annotate, owner, read_mark, unchanged, unmark
from torchfinch.release.cluster.routes import Patch, Split
from torchfinch.release.cluster.workloads import canary_arm, newest, replicas, scale_patch, stable_arm, stuck
from torchfinch.release.state import UNDERWAY, Arm, Mark, Phase

_GONE = Mark(revision=0, phase=Phase.ROLLING_BACK, canary="", weight=0, reason="the release was deleted")


@dataclass(frozen=True)
class Ratio:
    """The weight that the numbers of both Deployments' pods stand for."""

    stable: Object
    canary: Object

    def read(self) -> Split:
        """The split and the mark, which the canary's Deployment carries."""
        mark, shown = read_mark(self.canary), self._share
        if not mark or not self.untouched:
            return Split(weight=shown, mark=mark, synced=True)
        there = self._numbers == self._wanted(mark.weight)
        if mark.phase is not Phase.ROLLING_BACK:  # which is over when the last pod of the canary has gone
            shown = mark.weight
        return Split(weight=shown, mark=mark, synced=there)

    @property
    def untouched(self) -> bool:
        """Whether the canary has the number of pods that was set for the mark."""
        mark = read_mark(self.canary)
        return mark is not None and replicas(self.canary) == self._told.get("own", self._wanted(mark.weight)[1])

    def patches(self, mark: Mark, *, release: str) -> Iterator[Patch]:
        """A step towards a split, as far as pods are ready; nothing where it is come to.

        Raises `TorchfinchError` where there are too few pods for a share.
        """
        (stable, canary), (rest, own) = self._numbers, self._wanted(mark.weight)
        if mark.weight and not own:
            raise TorchfinchError(too_few(self._pods), f"kubectl scale deployment {_name(self.stable)} --replicas 2")
        needed = self._pods - _may_be_missing(self.stable, self._pods)
        new = _step(canary, own, keep=min(_ready(self.canary), needed - _surely_ready(self.stable)))
        left = _step(stable, rest, keep=needed - _surely_ready(self.canary))
        told = {"stable": _name(self.stable), "pods": self._pods, "own": new, "beside": [stable, left]}
        marked = annotate(self.canary, mark, release=release, backends=told)
        if new != canary or marked[0]["value"] != self.canary["metadata"].get("annotations", {}).get(ANNOTATION):
            yield DEPLOYMENTS, self.canary, [*scale_patch(self.canary, new), *marked]
        if left != stable:
            yield DEPLOYMENTS, self.stable, scale_patch(self.stable, left)

    def marked(self, mark: Mark, *, release: str) -> Iterator[Patch]:
        """The mark alone; where the canary has another number of pods than it stands for, that is a person's."""
        told = {"stable": _name(self.stable), "pods": self._pods}
        marked = annotate(self.canary, mark, release=release, backends=told)
        yield DEPLOYMENTS, self.canary, [*unchanged(self.canary), *marked]

    def cleared(self) -> Iterator[Patch]:
        """A step towards giving stable the pods of both; the last one takes the mark away."""
        if self._numbers == self._wanted(0):
            yield DEPLOYMENTS, self.canary, [*unchanged(self.canary), unmark()]
        else:
            yield from self.patches(_GONE, release=(owner(self.canary) or ("", {}))[0])

    @property
    def _numbers(self) -> tuple[int, int]:
        """How many pods stable and canary are to have now."""
        return replicas(self.stable), replicas(self.canary)

    def _wanted(self, weight: int) -> tuple[int, int]:
        """How many they have in the end."""
        own = canary_pods(self._pods, weight)
        return self._pods - own, own

    @property
    def _share(self) -> int:
        """The canary's percentage of all pods; a single pod is never none."""
        stable, canary = self._numbers
        return max(round(100 * canary / (stable + canary)), 1) if canary else 0

    @property
    def _pods(self) -> int:
        """Of both in the end: as many as were told, and what somebody has added to stable since, or taken from it."""
        before, after = self._told.get("beside") or (None, None)
        stable, canary = self._numbers
        if after is None:
            return stable + canary
        return int(self._told["pods"]) + (0 if stable in {before, after} else stable - int(after))

    @property
    def _told(self) -> dict[str, Any]:
        """What the annotation says of the numbers of pods.

        `pods` of both in the end, the canary's `own`, and stable's `beside` it: before and after the step.
        """
        owned = owner(self.canary)
        return owned[1] if owned else {}


def canary_pods(pods: int, weight: int) -> int:
    """How many of all pods are the canary's at this weight: at least one, and one is always left to stable."""
    return 0 if weight == 0 else max(min(max(round(pods * weight / 100), 1), pods - 1), 0)


def too_few(pods: int) -> str:
    """Why a number of pods cannot be split."""
    return f"no share can be split off {pods} pod: stable needs 2 or more"


def ratio_arms(stable: Object, canary: Object, *, weight: int) -> tuple[Arm, Arm]:
    """Both versions: the canary's pods come with its weight, so before it there is nothing to wait for."""
    arm = canary_arm(canary, _ready(canary), weight=weight)
    ready = _ready(canary) or (0 if stuck(canary) else None)
    if weight:
        return stable_arm(stable, _ready(stable)), replace(arm, ready=ready, running=True)
    mark, pods = read_mark(canary), replicas(stable)
    if pods < 2 and (mark is None or mark.phase in UNDERWAY):  # none before the first weight of all
        return stable_arm(stable, _ready(stable)), replace(arm, ready=0, running=True, lacks=too_few(pods))
    return stable_arm(stable, _ready(stable)), replace(arm, ready=1)


def _step(now: int, wanted: int, *, keep: int) -> int:
    """The next number of pods of a side: it grows at once, and shrinks to no fewer than it has to `keep`."""
    return wanted if wanted >= now else min(now, max(wanted, keep))


def _may_be_missing(deployment: Object, pods: int) -> int:
    """How many of all pods need not be ready meanwhile, by the strategy of stable's Deployment."""
    strategy = deployment["spec"].get("strategy", {})
    if strategy.get("type") == "Recreate":
        return pods
    value = str(strategy.get("rollingUpdate", {}).get("maxUnavailable", "25%"))
    return pods * int(value[:-1]) // 100 if value.endswith("%") else int(value)


def _ready(deployment: Object) -> int:
    return min(int(deployment.get("status", {}).get("availableReplicas", 0)), replicas(deployment))


def _surely_ready(deployment: Object) -> int:
    """None while the status tells of other numbers: pods that are just being ended may be among those."""
    return _ready(deployment) if newest(deployment) else 0


def _name(deployment: Object) -> str:
    return str(deployment["metadata"]["name"])
