"""Where versions run and what splits the traffic between them, as a manifest names them."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from torchfinch.release.manifest.fields import Duration, Fields, Name


class Source(Fields):
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


class EnvoyRoute(Fields):
    """One machine: an Envoy of the release's own in front of both versions."""

    kind: Literal["Envoy"] = "Envoy"
    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)
    timeout: Duration = 60.0
    """Longest wait for an answer; beyond it the user gets 504 and the version an error."""


class HTTPRoute(Fields):
    """Gateway API: the weights of the two Services in every rule that has both, or in one rule."""

    kind: Literal["HTTPRoute"]
    name: Name
    rule: str | None = None
    """Name of the only rule to touch."""


class VirtualService(Fields):
    """Istio: the weights of the two hosts in every HTTP route that has both, or in one."""

    kind: Literal["VirtualService"]
    name: Name
    rule: str | None = None
    """Name of the only HTTP route to touch."""


class Replicas(Fields):
    """No router: one Service over the pods of both Deployments, and the share of pods is the share of traffic."""

    kind: Literal["Replicas"]


class InProcess(Fields):
    """One process: both versions are predictors of a `CanaryDeployment`, which no manifest file is for."""

    kind: Literal["InProcess"]


HERE = frozenset({"Envoy", "InProcess"})
"""Kinds of routes that are on one machine."""


def _kind(route: Any) -> str:
    return str(route.get("kind", "Envoy")) if isinstance(route, dict) else str(getattr(route, "kind", "Envoy"))


ROUTES: dict[str | int, type[Fields]] = {
    "Envoy": EnvoyRoute,
    "HTTPRoute": HTTPRoute,
    "VirtualService": VirtualService,
    "Replicas": Replicas,
    "InProcess": InProcess,
}
Route = Annotated[
    Annotated[EnvoyRoute, Tag("Envoy")]
    | Annotated[HTTPRoute, Tag("HTTPRoute")]
    | Annotated[VirtualService, Tag("VirtualService")]
    | Annotated[Replicas, Tag("Replicas")]
    | Annotated[InProcess, Tag("InProcess")],
    Discriminator(_kind),
]
