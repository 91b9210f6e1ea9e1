"""What a release may have beside its steps: diff, shadow phase, checks of others, forced versions, notifications."""

import re
from typing import Annotated

from pydantic import Field, model_validator

from torchfinch.release.manifest.fields import Delay, Duration, Fields, Url

Condition = Annotated[str, Field(pattern=r"^(<|<=|>|>=|==|!=) ?-?\d+(\.\d+)?$", max_length=40)]
"""What a value is compared with, such as `< 0.95`."""


class ExternalCheck(Fields):
    """A number that somebody else knows: a web-hook, or Prometheus. Whoever cannot tell it holds the weight."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]*$", max_length=63)
    webhook: Url | None = None
    """Asked by POST what it thinks of the release; its answer is a number, or `{"value": number}`."""
    query: str | None = Field(default=None, min_length=1, max_length=4096)
    """PromQL that gives one number."""
    address: Url | None = None
    """Of the Prometheus for `query`; that of `evidence` where left out."""
    success_condition: Condition | None = None
    """Passes if the value is so."""
    failure_condition: Condition | None = None
    """Fails if the value is so. With both conditions a value may meet neither, and then holds."""
    timeout: Duration = 5.0
    dry_run: bool = False
    """Shown, but never decides."""

    @model_validator(mode="after")
    def _complete(self) -> "ExternalCheck":
        if (self.webhook is None) == (self.query is None):
            raise ValueError("name either a webhook or a query")
        if self.success_condition is None and self.failure_condition is None:
            raise ValueError("name a successCondition, a failureCondition, or both")
        return self


class Diff(Fields):
    """Before the first weight both versions are sent the same inputs, as by `torchfinch diff`. `null` is no limit."""

    inputs: str = Field(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$", max_length=253)
    """Folder whose files are sent: from where the controller runs, or on a cluster from its `--inputs`."""
    port: int = Field(default=8080, ge=1, le=65535)
    """On a cluster: where the pods take requests."""
    max_disagreement: float | None = Field(default=0.05, ge=0, le=1)
    """Share of the inputs that the canary may answer otherwise than stable."""
    max_confidence_change: float | None = Field(default=0.2, gt=0, le=1)
    """How far the canary's mean confidence may lie from stable's, on either side."""
    max_latency_ratio: float | None = Field(default=None, gt=0)
    """Canary's latency as a multiple of stable's: the geometric mean over the inputs. A server that has just started is
    slow at first."""


class Shadow(Fields):
    """Before the first weight, copies of requests for stable go to the canary too; users get stable's answers."""

    percent: int = Field(default=100, ge=1, le=100)
    """Of the requests."""
    min_requests: int | None = Field(default=None, ge=1)
    """Copies that the canary must have answered; `analysis.minRequests` where left out."""
    duration: Delay | None = None
    """Shortest time of this phase."""
    max_drift: float | None = Field(default=0.2, gt=0)
    """Population stability index of predicted classes and of confidences, canary's against stable's."""


_Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", max_length=63)]


class Force(Fields):
    """Requests that choose their version themselves, by the value `stable` or `canary`."""

    header: _Token | None = None
    """Name of a request header."""
    cookie: _Token | None = None
    """Name of a cookie."""

    @model_validator(mode="after")
    def _something(self) -> "Force":
        if self.header is None and self.cookie is None:
            raise ValueError("name a header, a cookie, or both")
        return self

    def cookie_pattern(self, version: str) -> str:
        """A pattern for the whole of a Cookie header that chooses `version`; it matches nothing without a cookie."""
        return rf"(.*;\s*)?{re.escape(self.cookie)}={version}(\s*;.*)?" if self.cookie else "$^"


class Notify(Fields):
    """Who is told that a release was promoted, rolled back, paused by hand or hangs, or that stable is degraded."""

    webhook: Url | None = None
    """Gets `{"text": ...}` by POST, as Slack and others take it."""
    webhook_env: str | None = Field(default=None, pattern=r"^TORCHFINCH_[A-Z0-9_]+$")
    """Environment variable of the controller that holds the URL, where it is a secret."""

    @model_validator(mode="after")
    def _one(self) -> "Notify":
        if (self.webhook is None) == (self.webhook_env is None):
            raise ValueError("name either a webhook or a webhookEnv")
        return self
