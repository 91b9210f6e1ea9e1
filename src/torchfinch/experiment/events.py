"""What is written down of an experiment: who was exposed, what was asked, what came of it. Ids and numbers only."""

import numbers
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from torchfinch.errors import TorchfinchError
from torchfinch.experiment.assignment import Variant
from torchfinch.experiment.spec import MetricName


def _number(value: object) -> object:
    return float(value) if isinstance(value, numbers.Real) else value  # NumPy's numbers and bool too, never bytes


Id = Annotated[str, Field(min_length=1, max_length=256)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    time: Number
    """Seconds since 1970."""
    experiment: Id


class Exposure(_Event):
    """A user was given a variant; the first one counts."""

    event: Literal["exposure"] = "exposure"
    user: Id
    variant: Variant
    share: Number
    """The treatment's share when the variant was given: exposures of an earlier, smaller share are told apart by it."""


class Request(_Event):
    """The router answered a request, or failed to."""

    event: Literal["request"] = "request"
    request: Id
    user: Id
    variant: Variant
    seconds: Number
    failed: bool


class Outcome(_Event):
    """Something that the metric counts, of a user or of one of their requests."""

    event: Literal["outcome"] = "outcome"
    metric: MetricName
    value: Number
    user: Id | None = None
    request: Id | None = None

    @model_validator(mode="after")
    def _of_one(self) -> "Outcome":
        if (self.user is None) == (self.request is None):
            raise ValueError("an outcome belongs to a user or to a request: name one of them")
        return self


Event = Exposure | Request | Outcome
EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def make_event(**fields: Any) -> Event:
    """An event, checked.

    Raises:
        TorchfinchError: a field is missing, unknown or of the wrong kind; bytes, arrays and long texts are refused.
    """
    try:
        return EVENT.validate_python(fields)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"][1:]) or "the event"
        message = fault["msg"].removeprefix("Value error, ")
        raise TorchfinchError(
            f"{fields.get('event')} not logged: {where}: {message}, got {_shown(fault['input'])}",
            "events hold ids of at most 256 characters and numbers; keep images and texts elsewhere",
        ) from error


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) < 60 else f"{text[:57]}..."
