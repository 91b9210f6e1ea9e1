"""What a person asks for: the manifest `kind: CanaryRelease`, read and checked.

The manifest is long-lived: it names the archives and the rules, and a changed canary starts a release.
Its shape is that of the custom resource of the same kind, so that one manifest can be read here and there.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from torchfinch.errors import TorchfinchError

API_VERSION = "torchfinch.dev/v1alpha1"
KIND = "CanaryRelease"

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")


def parse_duration(value: object) -> float:
    """Seconds of `500ms`, `1.5s`, `2m` or `1h30m`; a number without a unit is refused, since it could mean either."""
    text = str(value).strip()
    parts = _DURATION.findall(text)
    if isinstance(value, bool) or not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{value!r} is no duration; write a number with a unit, such as 10s, 2m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


class _Manifest(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, use_attribute_docstrings=True)


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(ge=0.001),
    PlainSerializer(lambda seconds: f"{seconds:g}s", when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|h|m|s))+$"}),
]


Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]


class Source(_Manifest):
    """Where a version comes from: an archive on one machine, a Deployment on a cluster."""

    archive: str | None = Field(default=None, min_length=1)
    """Path of a `.mar` file, from the folder where the controller runs."""
    deployment: Name | None = None
    """The Deployment whose pods serve this version."""
    service: Name | None = None
    """The Service in front of them; named as the Deployment where left out."""

    @model_validator(mode="after")
    def _one(self) -> "Source":
        if (self.archive is None) == (self.deployment is None):
            raise ValueError("name either an archive (one machine) or a deployment (cluster)")
        return self

    @property
    def backend(self) -> str:
        """The Service's name."""
        return self.service or self.deployment or ""


class EnvoyRoute(_Manifest):
    """One machine: an Envoy of the release's own in front of both versions."""

    kind: Literal["Envoy"] = "Envoy"
    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)
    timeout: Duration = 60.0
    """Longest wait for an answer; beyond it the user gets 504 and the version an error."""


class HTTPRoute(_Manifest):
    """Gateway API: the weights of the two Services in every rule that has both, or in one rule."""

    kind: Literal["HTTPRoute"]
    name: Name
    rule: str | None = None
    """Name of the only rule to touch."""


class VirtualService(_Manifest):
    """Istio: the weights of the two hosts in every HTTP route that has both, or in one."""

    kind: Literal["VirtualService"]
    name: Name
    rule: str | None = None
    """Name of the only HTTP route to touch."""


class Replicas(_Manifest):
    """No router: one Service over the pods of both Deployments, and the share of pods is the share of traffic."""

    kind: Literal["Replicas"]


def _kind(route: Any) -> str:
    return str(route.get("kind", "Envoy")) if isinstance(route, dict) else str(getattr(route, "kind", "Envoy"))


_ROUTES: dict[str | int, type[_Manifest]] = {
    "Envoy": EnvoyRoute,
    "HTTPRoute": HTTPRoute,
    "VirtualService": VirtualService,
    "Replicas": Replicas,
}
Route = Annotated[
    Annotated[EnvoyRoute, Tag("Envoy")]
    | Annotated[HTTPRoute, Tag("HTTPRoute")]
    | Annotated[VirtualService, Tag("VirtualService")]
    | Annotated[Replicas, Tag("Replicas")],
    Discriminator(_kind),
]


class Measurements(_Manifest):
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


class Step(_Manifest):
    """One weight of the canary, and what must be seen before the next."""

    weight: int = Field(ge=1, le=100)
    duration: Duration | None = None
    """Shortest time at this weight."""
    min_requests: int | None = Field(default=None, ge=1)
    """Canary requests in this step; `analysis.minRequests` where left out."""


class Analysis(_Manifest):
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


class Action(_Manifest):
    """One wish of a person; an `id` that was carried out is never carried out again."""

    type: Literal["promote", "abort", "retry", "skip", "resume"]
    id: str = Field(min_length=1, max_length=100)


class Spec(_Manifest):
    """Everything the decision needs to know of a person's wishes."""

    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """The model's name in requests: `/predictions/MODEL`."""
    stable: Source | None = None
    """Only for the first start; afterwards the state knows what is stable."""
    canary: Source | None = None
    """What it names is offered; where that changes, a release starts."""
    route: Route
    steps: tuple[Step, ...] = Field(min_length=1, max_length=20)
    """Rising weights; a last one of 100 is added where it lacks."""
    analysis: Analysis = Analysis()
    evidence: Measurements = Measurements()
    """Only on a cluster; on one machine Envoy counts."""
    progress_deadline: Duration = 600.0
    """Roll back when nothing moved forward for so long; pauses and a step's own duration do not count."""
    scale_down_delay: Duration | None = 30.0
    """So long after the end of a release its canary still runs; `null` leaves it running."""
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

    def step_of(self, weight: int) -> int:
        """Number of the step that `weight` has reached: 0 before the first one, `len(steps)` at 100."""
        return sum(step.weight <= weight for step in self.steps)

    def next_weight(self, weight: int) -> int | None:
        """The weight after `weight`, or None at the last step."""
        return next((step.weight for step in self.steps if step.weight > weight), None)

    def step_at(self, weight: int) -> Step:
        """The step with this weight; a plain one where an edit of the manifest took it away."""
        return next((step for step in self.steps if step.weight == weight), Step(weight=max(weight, 1)))


class Metadata(_Manifest):
    """The release's name, which is also its folder."""

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)


class Manifest(_Manifest):
    """The whole file."""

    api_version: Literal["torchfinch.dev/v1alpha1"]
    kind: Literal["CanaryRelease"]
    metadata: Metadata
    spec: Spec


def parse_manifest(text: str, *, source: str = "manifest") -> Manifest:
    """Read a manifest from YAML.

    Raises `TorchfinchError` with the first fault, its place and what is allowed there; `source` names the file.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TorchfinchError(f"{source} is not YAML: {' '.join(str(error).split())}") from error
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise TorchfinchError(f"{source}: {first_fault(error)}", "see docs/releases.md for every field") from error


def first_fault(error: ValidationError) -> str:
    """The first fault that pydantic found: its place, and what is wrong there."""
    faults = error.errors(include_url=False)
    fault = next((each for each in faults if each["type"] == "extra_forbidden"), faults[0])  # else a typo is "missing"
    where = _path([part for part in fault["loc"] if part not in _ROUTES])
    if fault["type"] == "extra_forbidden":
        return f"{where} is no known field (allowed here: {', '.join(_allowed(fault['loc'][:-1]))})"
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
    return "".join(parts).removeprefix(".") or "the document"


def _allowed(location: Sequence[str | int]) -> list[str]:
    model: Any = Manifest
    for part in location:
        if isinstance(part, str):
            model = _ROUTES.get(part) or _model_in(_field(model, part).annotation)
    return [field.alias for field in model.model_fields.values()]


def _field(model: Any, alias: str) -> Any:
    return next(field for field in model.model_fields.values() if field.alias == alias)


def _model_in(annotation: Any) -> Any:
    """The model inside `Model | None` or `tuple[Model, ...]`; None for a union, whose tag comes next."""
    choices = [annotation, *get_args(annotation)]
    return next((kind for kind in choices if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
