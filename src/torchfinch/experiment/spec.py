"""The experiment, as a person writes it down before it starts: a YAML file, read and checked."""

import difflib
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from torchfinch.errors import TorchfinchError
from torchfinch.experiment.assignment import BUCKETS, Variant, bucket_of, variant_of
from torchfinch.experiment.web import HEADER
from torchfinch.files import read_yaml

_HINT = "docs/experiments.md has every field"
MetricName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=64)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Metric(_Part):
    """The one number that decides, with what is known of it beforehand."""

    name: MetricName | Literal["request.seconds", "request.failed"]
    """Outcomes carry it; the two with a dot are of the requests that the router logs by itself."""
    kind: Literal["conversion", "total", "ratio"]
    """How a user's outcomes become a number.

    conversion: 1 where any outcome is above 0, else 0. total: their sum, 0 where there are none. ratio: the sum over
    all users divided by the number of outcomes, for the mean of a thing that a user has many of.
    """
    baseline: float
    """The metric with the control, as it is known today."""
    effect: float
    """The smallest difference worth knowing, absolute and not relative."""
    deviation: float | None = Field(default=None, gt=0)
    """Standard deviation between users; follows from the baseline for a conversion."""

    @field_validator("effect")
    @classmethod
    def _some_effect(cls, effect: float) -> float:
        if effect == 0:
            raise ValueError("an effect of 0 needs endless users")
        return effect

    @model_validator(mode="after")
    def _deviation_known(self) -> "Metric":
        if self.kind != "conversion":
            if self.deviation is None:
                raise ValueError(f"deviation is missing: a {self.kind} needs the standard deviation between users")
            return self
        if self.deviation is not None:
            raise ValueError("deviation does not go with a conversion: it follows from the baseline")
        if not (0 < self.baseline < 1 and 0 < self.baseline + self.effect < 1):
            raise ValueError("baseline and baseline + effect of a conversion lie between 0 and 1")
        return self

    def variance(self, variant: Variant) -> float:
        """Variance between the users of a variant, if the effect is as large as named."""
        if self.deviation is not None:
            return self.deviation**2
        rate = self.baseline + (self.effect if variant == "treatment" else 0.0)
        return rate * (1 - rate)


class Experiment(_Part):
    """Two variants, who gets which, and how it will be judged."""

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)
    salt: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=64)
    """Any text, kept while the experiment runs; another one draws all users anew."""
    share: float = Field(gt=0, lt=1)
    """Share of the users who get the treatment, in steps of 0.0001."""
    metric: Metric
    users_per_day: float = Field(gt=0)
    """New users that are expected a day, of both variants."""
    days: float = Field(gt=0)
    """How long users enter the experiment; full weeks see every day of the week alike."""
    window_days: float = Field(default=1.0, gt=0)
    """Outcomes count for so long after a user's first exposure, for every user alike."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Share of experiments without a difference that may show one."""
    power: float = Field(default=0.8, gt=0.5, lt=1)
    """Share of experiments with the effect that shall show it."""
    logs: str = "logs"
    """Folder of the events, seen from this file."""

    @field_validator("share")
    @classmethod
    def _whole_buckets(cls, share: float) -> float:
        if not math.isclose(share * BUCKETS, round(share * BUCKETS), rel_tol=1e-9):
            raise ValueError("a share has steps of 0.0001")
        return share

    def bucket(self, user: str) -> int:
        """The user's bucket, 0 to 9,999; raises `TorchfinchError` for what is no user id."""
        return bucket_of(user, experiment=self.name, salt=self.salt)

    def variant(self, user: str) -> Variant:
        """What this user gets, now and after every restart; raises `TorchfinchError` for what is no user id."""
        return variant_of(self.bucket(user), share=self.share)

    def headers(self, user: str) -> dict[str, str]:
        """The header that a route matches to send this user to the variant's version."""
        return {HEADER: self.variant(user)}


def read_experiment(path: Path) -> Experiment:
    """Read an experiment from a YAML file.

    Raises `TorchfinchError` with the first fault and its place; a key that is not known names the nearest one.
    """
    content = read_yaml(path)
    try:
        return Experiment.model_validate(content)
    except ValidationError as error:
        raise TorchfinchError(f"{path}: {_first_fault(error)}", _HINT) from error


def _first_fault(error: ValidationError) -> str:
    fault: Any = error.errors(include_url=False)[0]
    place = [str(part) for part in fault["loc"] if part in {"metric", *Experiment.model_fields, *Metric.model_fields}]
    where = ".".join(place) or "the file"
    if fault["type"] == "extra_forbidden":
        model = Metric if len(fault["loc"]) > 1 else Experiment
        return _unknown(".".join(map(str, fault["loc"])), str(fault["loc"][-1]), list(model.model_fields))
    if fault["type"] == "missing":
        return f"{where} is missing"
    message = fault["msg"].removeprefix("Value error, ")
    shown = fault["input"]
    return f"{where}: {message}" + (f", got {shown!r}" if isinstance(shown, str | int | float) else "")


def _unknown(where: str, key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"{where} is no known field" + (f"; the nearest is {near[0]}" if near else f" (known: {', '.join(known)})")
