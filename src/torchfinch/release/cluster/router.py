"""The router of a cluster: a route in front of two Deployments, read from the cache, changed through the API."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from torchfinch.errors import TorchfinchError
from torchfinch.release.adapters import View
from torchfinch.release.cluster.api import Api, ApiError, Object
from torchfinch.release.cluster.cache import Cache
from torchfinch.release.cluster.choices import Choices
from torchfinch.release.cluster.kinds import DEPLOYMENTS, RELEASES, REPLICA_SETS, Kind
from torchfinch.release.cluster.marks import names, owner, without_mark
from torchfinch.release.cluster.replicas import Ratio, ratio_arms
from torchfinch.release.cluster.routes import Patch, RouteWeights, Split, dialect
from torchfinch.release.cluster.workloads import (
    Endpoints,
    canary_arm,
    digest,
    endpoints_in,
    replicas,
    restart_patch,
    scale_patch,
    stable_arm,
    take_over_patch,
    unlike,
)
from torchfinch.release.decision.baseline import can_serve
from torchfinch.release.manifest.backends import EnvoyRoute, HTTPRoute, InProcess, Replicas, Source
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.state import Arm, Mark, Role


class Weights(Protocol):
    """Where the split stands."""

    def read(self) -> Split:
        """The split and the mark."""

    def patches(self, mark: Mark, *, release: str) -> Iterable[Patch]:
        """What sets the split and the mark, in this order."""

    def marked(self, mark: Mark, *, release: str) -> Iterable[Patch]:
        """What sets the mark alone."""


_UNSEEN = View(weight=None, mark=None, stable=Arm(ready=None), canary=Arm(ready=None), offered=None, synced=False)


class ClusterRouter:
    """The route and both Deployments of one release."""

    def __init__(self, api: Api, cache: Cache, *, namespace: str, name: str) -> None:
        self._api = api
        self._cache = cache
        self._namespace = namespace
        self._name = name
        self._choices = Choices(api, cache, namespace=namespace, name=name)
        self.view: View | None = None
        """What was seen last."""

    def observe(self, spec: Spec) -> View:
        """Read everything from the cache; what was set and is not there yet is brought on: pods, forced versions."""
        try:
            self.view = self._seen(spec)
        except TorchfinchError as error:
            self.view = replace(_UNSEEN, trouble=(error.message,))
            raise
        return self.view

    def _seen(self, spec: Spec) -> View:
        weights = self._weights(spec)
        split = weights.read()
        stable, canary = self._arms(spec, split.weight)
        baseline = self._baseline(spec, split)
        return View(
            weight=split.weight,
            mark=split.mark,
            mirror=split.mirror,
            synced=split.synced,
            stable=stable,
            canary=canary,
            baseline=baseline,
            baseline_weight=split.baseline or 0,
            offered=digest(self._deployment(spec, "canary")),
            trouble=(*split.trouble, *self._go_on(weights, split), *self._keep_choices(spec, split.weight)),
        )

    def endpoints(self, spec: Spec, role: Role) -> Endpoints:
        """The pods behind a version."""
        return endpoints_in(self._cache.slices(self._namespace, _source(spec, role).backend))

    def set_weight(self, spec: Spec, mark: Mark) -> None:
        """Weights, mirror and mark in one patch, which fails where somebody has changed the route meanwhile."""
        self._apply(self._weights(spec).patches(mark, release=self._name))
        self._keep_choices(spec, mark.weight)

    def deploy(self, spec: Spec, role: Role, digest: str, *, fresh: bool) -> None:
        """Have pods of the canary, as many as stable has; or bring stable back to the version `digest`."""
        found = self._deployment(spec, role)
        if role == "stable":
            self._undo(found, digest)
        elif role == "baseline":
            self._copy(spec, found, digest)
        elif replicas(found) == 0 and not isinstance(spec.route, Replicas):  # there its pods come with its weight
            wanted = max(replicas(self._deployment(spec, "stable")), 1)
            self._patch(DEPLOYMENTS, found, scale_patch(found, wanted))
        elif fresh:
            self._patch(DEPLOYMENTS, found, restart_patch(found, datetime.now(UTC).isoformat(timespec="seconds")))

    def promote(self, spec: Spec, wanted: str) -> None:
        """Let stable take the canary's pod template; its pods are replaced while the canary has the traffic."""
        stable, canary = self._deployment(spec, "stable"), self._deployment(spec, "canary")
        if digest(canary) != wanted:
            raise TorchfinchError(f"cannot promote {wanted[:12]}: the Deployment of the canary has changed")
        if digest(stable) != wanted:
            self._patch(DEPLOYMENTS, stable, take_over_patch(stable, canary["spec"]["template"]))

    def retire(self, spec: Spec) -> None:
        """No more pods of the baseline, and then of the canary, which is seen as running until both are done.

        Where pods are the weight, the canary's go with it.
        """
        if isinstance(spec.route, Replicas):
            return
        for found in (self._beside(spec), self._deployment(spec, "canary")):
            if found:
                self._patch(DEPLOYMENTS, found, scale_patch(found, 0))

    def balance(self, spec: Spec) -> None:
        """The weights of baseline and stable, in one patch."""
        weights = self._weights(spec)
        if isinstance(weights, RouteWeights):
            self._apply(weights.balanced(release=self._name))

    def remark(self, spec: Spec, mark: Mark) -> None:
        """The mark alone, in a patch."""
        self._apply(self._weights(spec).marked(mark, release=self._name))

    def _go_on(self, weights: Weights, split: Split) -> tuple[str, ...]:
        """A step more towards the numbers of pods that were set; whoever was faster is seen at the next look."""
        if not (isinstance(weights, Ratio) and weights.untouched and split.mark):
            return ()
        try:
            self._apply(weights.patches(split.mark, release=self._name))
        except ApiError as error:
            return () if error.status in {409, 422} else (error.message,)
        except TorchfinchError as error:
            return (error.message,)
        return ()

    def _apply(self, patches: Iterable[Patch]) -> None:
        for kind, found, patch in patches:
            self._patch(kind, found, patch)

    def _keep_choices(self, spec: Spec, weight: int) -> tuple[str, ...]:
        weights = self._weights(spec)
        split = weights if isinstance(weights, RouteWeights) and isinstance(spec.route, HTTPRoute) else None
        return self._choices.keep(spec.force, split, weight=weight)

    def _arms(self, spec: Spec, weight: int) -> tuple[Arm, Arm]:
        stable, canary = self._deployment(spec, "stable"), self._deployment(spec, "canary")
        if isinstance(spec.route, Replicas):
            arms = ratio_arms(stable, canary, weight=weight)
        else:
            ready = len(self.endpoints(spec, "stable").ready), len(self.endpoints(spec, "canary").ready)
            arms = stable_arm(stable, ready[0]), canary_arm(canary, ready[1], weight=weight)
        never = unlike(stable, canary)
        return (arms[0], replace(arms[1], ready=0, lacks=never)) if never else arms

    def _weights(self, spec: Spec) -> Weights:
        if isinstance(spec.route, Replicas):
            canary = self._unclaimed(DEPLOYMENTS, self._deployment(spec, "canary"))
            return Ratio(self._deployment(spec, "stable"), canary)
        if isinstance(spec.route, EnvoyRoute | InProcess):
            raise TorchfinchError(f"spec.route.kind {spec.route.kind} is for one machine", "kind: HTTPRoute")
        speaks = dialect(spec.route)
        route = self._unclaimed(speaks.kind, self._object(speaks.kind, spec.route.name))
        backends = _source(spec, "stable").backend, _source(spec, "canary").backend
        if not spec.baseline:
            owned = owner(route)
            left = owned[1].get("baseline") if owned and owned[0] == self._name else None  # by a spec that had one
            return RouteWeights(route, speaks, spec.route.rule, *backends, left)
        split = RouteWeights(route, speaks, spec.route.rule, *backends, spec.baseline.backend)
        read = split.read()
        baseline, stable = self._baseline(spec, read), self._arms(spec, read.weight)[0]
        return replace(split, baseline_answers=bool(baseline and can_serve(baseline, stable=stable)))

    def _unclaimed(self, kind: Kind, found: Object) -> Object:
        """The object, unless it carries another release's mark: two that move one split would undo each other."""
        owned = owner(found)
        if not owned or owned[0] == self._name:
            return found
        other = self._cache.get(RELEASES, self._namespace, owned[0])
        if other and not names(other, kind, found):  # it has been pointed elsewhere since
            return without_mark(found)
        raise TorchfinchError(
            f"{kind.name} {found['metadata']['name']} is driven by CanaryRelease {owned[0]}",
            "a route takes one release: name another route, or delete one of the two",
        )

    def _baseline(self, spec: Spec, split: Split) -> Arm | None:
        if not spec.baseline:
            return None
        found = self._beside(spec)
        arm = canary_arm(found, len(self.endpoints(spec, "baseline").ready), weight=split.weight) if found else Arm()
        if split.baseline is None:
            return replace(arm, ready=0, lacks=f"{spec.baseline.backend} is no backend of every rule that splits")
        return arm

    def _beside(self, spec: Spec) -> Object | None:
        name = spec.baseline.deployment if spec.baseline else None
        return self._cache.get(DEPLOYMENTS, self._namespace, name) if name else None

    def _copy(self, spec: Spec, baseline: Object, wanted: str) -> None:
        """Stable's version, on as many pods as the canary has."""
        stable = self._deployment(spec, "stable")
        if digest(stable) != wanted:
            raise TorchfinchError(f"cannot copy {wanted[:12]}: the Deployment of stable has changed")
        number = max(replicas(self._deployment(spec, "canary")), 1)
        patch = [*take_over_patch(baseline, stable["spec"]["template"]), *scale_patch(baseline, number)]
        self._patch(DEPLOYMENTS, baseline, patch)

    def _undo(self, deployment: Object, wanted: str) -> None:
        name, uid = deployment["metadata"]["name"], deployment["metadata"]["uid"]
        if replicas(deployment) == 0:
            raise TorchfinchError(f"Deployment {name} is scaled to 0", f"kubectl scale deployment {name} --replicas 1")
        if digest(deployment) == wanted:
            return
        for each in self._api.get(REPLICA_SETS.path(self._namespace))["items"]:
            template = each["spec"]["template"]
            own = uid in {reference["uid"] for reference in each["metadata"].get("ownerReferences", [])}
            if own and digest({**deployment, "spec": {**deployment["spec"], "template": template}}) == wanted:
                self._patch(DEPLOYMENTS, deployment, take_over_patch(deployment, template))
                return
        raise TorchfinchError(
            f"no ReplicaSet of {name} has the version {wanted[:12]} any more", "kubectl rollout undo deployment/" + name
        )

    def _patch(self, kind: Kind, found: Object, patch: list[Object]) -> None:
        path = kind.path(self._namespace, found["metadata"]["name"])
        try:
            self._cache.put(kind, self._api.patch(path, patch))
        except ApiError as error:
            if error.status in {409, 422}:  # it has changed since it was read: look again, decide again
                self._cache.put(kind, self._api.get(path))
            raise

    def _deployment(self, spec: Spec, role: Role) -> Object:
        return self._object(DEPLOYMENTS, _source(spec, role).deployment or "")

    def _object(self, kind: Kind, name: str) -> Object:
        found = self._cache.get(kind, self._namespace, name)
        if found is None:
            raise TorchfinchError(f"there is no {kind.name} {name} in namespace {self._namespace}")
        return found


def _source(spec: Spec, role: Role) -> Source:
    source = {"stable": spec.stable, "canary": spec.canary, "baseline": spec.baseline}[role]
    if source is None or source.deployment is None:
        raise TorchfinchError(f"spec.{role} names no Deployment")
    return source
