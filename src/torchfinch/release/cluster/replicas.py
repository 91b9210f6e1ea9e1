"""The fallback without a router: one Service over all pods, so that the share of pods is the share of traffic.

With N pods only multiples of 1/N exist. The mark says which weight was meant; it is believed as long as the numbers of
pods are those that it leads to.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchfinch.release.cluster.api import Object
from torchfinch.release.cluster.kinds import DEPLOYMENTS
from torchfinch.release.cluster.routes import ANNOTATION, Patch, Split, annotate, owner, read_mark
from torchfinch.release.cluster.workloads import canary_arm, replicas, scale_patch, stable_arm, stuck
from torchfinch.release.state import Arm, Mark

_UNMARK = {"op": "remove", "path": f"/metadata/annotations/{ANNOTATION.replace('/', '~1')}"}


@dataclass(frozen=True)
class Ratio:
    """The weight that the numbers of both Deployments' pods stand for."""

    stable: Object
    canary: Object

    def read(self) -> Split:
        """The split and the mark, which the canary's Deployment carries."""
        mark = read_mark(self.canary)
        own, both = replicas(self.canary), replicas(self.stable) + replicas(self.canary)
        meant = mark is not None and own == canary_pods(self._pods, mark.weight)
        weight = mark.weight if mark and meant else round(100 * own / both) if both else 0
        return Split(weight=weight, mark=mark, synced=True)

    def patches(self, mark: Mark, *, release: str) -> list[Patch]:
        """The growing Deployment first, so that no pod is missed."""
        own = canary_pods(self._pods, mark.weight)
        backends = {"stable": self.stable["metadata"]["name"], "pods": self._pods}
        marked = [*scale_patch(self.canary, own), *annotate(self.canary, mark, release=release, backends=backends)]
        canary = (DEPLOYMENTS, self.canary, marked)
        stable = (DEPLOYMENTS, self.stable, scale_patch(self.stable, self._pods - own))
        return [canary, stable] if own >= replicas(self.canary) else [stable, canary]

    def cleared(self) -> Iterator[Patch]:
        """What gives stable the pods of both, and takes the mark away; may be done again where it was cut off."""
        if (self._told or 0) > replicas(self.stable):
            yield DEPLOYMENTS, self.stable, scale_patch(self.stable, self._told or 0)
        yield DEPLOYMENTS, self.canary, [*scale_patch(self.canary, 0), _UNMARK]

    @property
    def _pods(self) -> int:
        """Of both: the mark's number while stable has as many as it can between the two patches of a split.

        What lies outside of that is a person's or an autoscaler's number, and counts.
        """
        stable, own, told = replicas(self.stable), replicas(self.canary), self._told
        return told if told and told - own <= stable <= told else stable + own

    @property
    def _told(self) -> int | None:
        """How many the mark says they are, which it does while the canary has some."""
        owned = owner(self.canary) if replicas(self.canary) else None
        pods = owned[1].get("pods") if owned else None
        return pods if isinstance(pods, int) else None


def canary_pods(pods: int, weight: int) -> int:
    """How many of all pods are the canary's at this weight: at least one, and one is always left to stable."""
    return 0 if weight == 0 else min(max(round(pods * weight / 100), 1), pods - 1)


def ratio_arms(stable: Object, canary: Object, *, weight: int) -> tuple[Arm, Arm]:
    """Both versions: the canary's pods come with its weight, so before it there is nothing to wait for."""
    arm = canary_arm(canary, _available(canary), weight=weight)
    ready = _available(canary) or (0 if stuck(canary) else None)
    return (
        stable_arm(stable, _available(stable)),
        replace(arm, ready=ready, running=True) if weight else replace(arm, ready=1),
    )


def _available(deployment: Object) -> int:
    return int(deployment.get("status", {}).get("availableReplicas", 0))
