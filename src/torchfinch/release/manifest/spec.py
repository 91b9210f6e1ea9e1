"""What a person asks for: the manifest `kind: CanaryRelease`, read and checked.

The manifest is long-lived: it names the archives and the rules, and a changed canary starts a release.
Its shape is that of the custom resource of the same kind, so that one manifest can be read here and there.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from torchfinch.errors import TorchfinchError
from torchfinch.files import parse_yaml
from torchfinch.release.manifest.backends import ROUTES, Route, Source
from torchfinch.release.manifest.fields import Delay, Duration, Fields
from torchfinch.release.manifest.options import Diff, ExternalCheck, Force, Notify, Shadow


class Measurements(Fields):
    """Where a cluster's counters are read: from the pods themselves, or from the Prometheus that scrapes them."""

    kind: Literal["Pods", "Prometheus"] = "Pods"
    port: int = Field(default=8082, ge=1, le=65535)
    """Pods: where TorchServe's metrics are."""
    address: str = Field(default="", pattern=r"^(https?://[^/]+(/.*)?)?$")
    """Prometheus: its URL."""
    pod_label: str = Field(default="pod", pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")
    """Prometheus: the label that names a sample's pod."""

    @model_validator(mode="after")
    def _addressed(self) -> "Measurements":
        if self.kind == "Prometheus" and not self.address:
            raise ValueError("kind Prometheus needs its address")
        return self


class Step(Fields):
    """One weight of the canary, and what must be seen before the next."""

    weight: int = Field(ge=1, le=100)
    duration: Delay | None = None
    """Shortest time at this weight."""
    min_requests: int | None = Field(default=None, ge=1)
    """Canary requests in this step; `analysis.minRequests` where left out."""


class Analysis(Fields):
    """The rule. A limit of `null` switches its check off."""

    interval: Duration = 5.0
    """Time between two looks."""
    min_requests: int = Field(default=100, ge=1)
    """Canary requests of the release before anything is decided."""
    max_error_rate: float | None = Field(default=0.05, gt=0, le=1)
    max_error_ratio: float | None = Field(default=2.0, gt=0)
    """Canary's error rate as a multiple of stable's."""
    max_mean_latency: Duration | None = 1.5
    max_latency_ratio: float | None = Field(default=2.0, gt=0)
    """Canary's mean latency as a multiple of stable's."""
    max_client_error_excess: float | None = Field(default=0.05, gt=0, le=1)
    """How far the canary's share of 4xx answers may lie above stable's: a canary that refuses everything is broken."""
    stable_error_floor: float = Field(default=0.0, ge=0, lt=1)
    """Stable's error rate counts as at least this in the ratio rule. 0 is the rule taken literally."""
    max_age: Duration | None = None
    """Older measurements are missing measurements; three intervals, at least ten seconds, where left out."""
    policy: Literal["required", "sequential"] = "required"
    """`required`: fixed limits. `sequential`: evidence that stays valid at any number of looks."""
    alpha: float = Field(default=0.01, gt=0, le=0.5)
    """Policy `sequential`: the share of releases with two equal versions that may be rolled back."""

    @property
    def freshness(self) -> float:
        """Seconds for which a reading counts."""
        return self.max_age or max(3 * self.interval, 10.0)


class Action(Fields):
    """One wish of a person; an `id` that was carried out is never carried out again."""

    type: Literal["promote", "abort", "retry", "skip", "resume"]
    id: str = Field(min_length=1, max_length=100)


class Spec(Fields):
    """Everything the decision needs to know of a person's wishes."""

    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """The model's name in requests: `/predictions/MODEL`."""
    stable: Source | None = None
    """Only for the first start; afterwards the state knows what is stable."""
    canary: Source | None = None
    """What it names is offered; where that changes, a release starts."""
    baseline: Source | None = None
    """A copy of stable that is loaded like the canary. Only with an HTTPRoute or VirtualService."""
    route: Route
    steps: tuple[Step, ...] = Field(min_length=1, max_length=20)
    """Rising weights; a last one of 100 is added where it lacks."""
    analysis: Analysis = Analysis()
    evidence: Measurements = Measurements()
    """Only on a cluster; on one machine Envoy counts."""
    progress_deadline: Duration = 600.0
    """Roll back when nothing moved forward for so long; pauses and a step's own duration do not count."""
    scale_down_delay: Delay | None = 30.0
    """So long after the end of a release its canary still runs; `null` leaves it running."""
    checks: tuple[ExternalCheck, ...] = Field(default=(), max_length=10)
    """Numbers of others that must be right as well."""
    diff: Diff | None = None
    """Not without a router."""
    shadow: Shadow | None = None
    """Only with an Envoy or HTTPRoute."""
    force: Force | None = None
    """Only with an Envoy or HTTPRoute."""
    notify: Notify | None = None
    paused: bool = False
    """Hold the weight; a plain failure is still acted on."""
    action: Action | None = None

    @field_validator("steps")
    @classmethod
    def _rise_to_all(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        weights = [step.weight for step in steps]
        if weights != sorted(set(weights)):
            raise ValueError(f"weights must rise from step to step, got {weights}")
        return steps if weights[-1] == 100 else (*steps, Step(weight=100))

    @field_validator("checks")
    @classmethod
    def _told_apart(cls, checks: tuple[ExternalCheck, ...]) -> tuple[ExternalCheck, ...]:
        names = [check.name for check in checks]
        if len(set(names)) < len(names):
            raise ValueError(f"every check needs a name of its own, got {names}")
        return checks

    @model_validator(mode="after")
    def _possible(self) -> "Spec":
        if (self.shadow or self.force) and self.route.kind not in {"Envoy", "HTTPRoute"}:
            raise ValueError(f"shadow and force need route.kind Envoy or HTTPRoute, not {self.route.kind}")
        if self.baseline and self.route.kind not in {"HTTPRoute", "VirtualService"}:
            raise ValueError(f"baseline needs route.kind HTTPRoute or VirtualService, not {self.route.kind}")
        if self.stable and self.canary and self.stable.deployment and _shared(self.stable, self.canary):
            raise ValueError("stable and canary need a Deployment and a Service each, of their own")
        others = [source for source in (self.stable, self.canary) if source]
        if self.baseline and any(_shared(self.baseline, other) for other in others):
            raise ValueError("baseline needs a Deployment and a Service of its own")
        if self.diff and self.route.kind == "Replicas":
            raise ValueError("diff needs a router: with route.kind Replicas the canary's pods come with its weight")
        for check in self.checks:
            if check.query and not (check.address or self.evidence.address):
                raise ValueError(f"check {check.name} has a query: name the address of its Prometheus")
        return self

    def step_of(self, weight: int) -> int:
        """Number of the step that `weight` has reached: 0 before the first one, `len(steps)` at 100."""
        return sum(step.weight <= weight for step in self.steps)

    def next_weight(self, weight: int) -> int | None:
        """The weight after `weight`, or None at the last step."""
        return next((step.weight for step in self.steps if step.weight > weight), None)

    def step_at(self, weight: int) -> Step:
        """The step with this weight; a plain one where an edit of the manifest took it away."""
        return next((step for step in self.steps if step.weight == weight), Step(weight=max(weight, 1)))


def _shared(one: Source, other: Source) -> bool:
    return one.deployment == other.deployment or one.backend == other.backend


class Metadata(Fields):
    """The release's name, which is also its folder."""

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)


class Manifest(Fields):
    """The whole file."""

    api_version: Literal["torchfinch.dev/v1alpha1"]
    kind: Literal["CanaryRelease"]
    metadata: Metadata
    spec: Spec


def parse_manifest(text: str, *, source: str = "manifest") -> Manifest:
    """Read a manifest from YAML.

    Raises `TorchfinchError` with the first fault, its place and what is allowed there; `source` names the file.
    """
    content = parse_yaml(text, source=source)
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise TorchfinchError(f"{source}: {first_fault(error)}", "see docs/releases.md for every field") from error


def first_fault(error: ValidationError, *, within: str = "") -> str:
    """The first fault that pydantic found: its place (`within` what was read), and what is wrong there."""
    faults = error.errors(include_url=False)
    fault = next((each for each in faults if each["type"] == "extra_forbidden"), faults[0])  # else a typo is "missing"
    where = _path([within, *(part for part in fault["loc"] if part not in ROUTES)])
    if fault["type"] == "extra_forbidden":
        model = {each.__name__: each for each in (Manifest, Spec, Analysis)}[error.title]
        return f"{where} is no known field (allowed here: {', '.join(_allowed(model, fault['loc'][:-1]))})"
    if fault["type"] == "missing":
        return f"{where} is missing"
    if fault["type"] in {"model_type", "model_attributes_type"}:
        return f"{where} must be a mapping of fields, got {fault['input']!r}"
    if fault["type"] == "string_pattern_mismatch" and fault["loc"][0] == "metadata":
        return f"{where}: {fault['input']!r} is no name of a release; use small letters, digits and -"
    message = fault["msg"].removeprefix("Value error, ")
    shown = fault["input"]
    told = not isinstance(shown, str | int | float) or repr(shown) in message
    return f"{where}: {message}" + ("" if told else f", got {shown!r}")


def _path(location: Sequence[str | int]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).strip(".") or "the document"


def _allowed(model: Any, location: Sequence[str | int]) -> list[str]:
    for part in location:
        if isinstance(part, str):
            model = ROUTES.get(part) or _model_in(_field(model, part).annotation)
    return [field.alias for field in model.model_fields.values()]


def _field(model: Any, alias: str) -> Any:
    return next(field for field in model.model_fields.values() if field.alias == alias)


def _model_in(annotation: Any) -> Any:
    """The model inside `Model | None` or `tuple[Model, ...]`; None for a union, whose tag comes next."""
    choices = [annotation, *get_args(annotation)]
    return next((kind for kind in choices if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
