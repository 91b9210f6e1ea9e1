"""What every part of a manifest is made of: strict fields in camelCase, names, and durations with a unit."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")


def parse_duration(value: object) -> float:
    """Seconds of `500ms`, `1.5s`, `2m` or `1h30m`; a number without a unit is refused, since it could mean either."""
    text = str(value).strip()
    parts = _DURATION.findall(text)
    if isinstance(value, bool) or not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{value!r} is no duration; write a number with a unit, such as 10s, 2m or 1h30m")
    return round(sum(float(number) * _UNITS[unit] for number, unit in parts), 9)


class Fields(BaseModel):
    """A mapping of a manifest; an unknown field is refused."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, use_attribute_docstrings=True)


_YEAR = 8760 * 3600.0
_TEXT = {"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|h|m|s))+$", "maxLength": 40, "maximum": "8760h"}

Delay = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(le=_YEAR),
    PlainSerializer(lambda seconds: f"{seconds:g}s", when_used="json"),
    WithJsonSchema(_TEXT),
]
"""A duration that may be 0."""

Duration = Annotated[Delay, Field(ge=0.001), WithJsonSchema({**_TEXT, "minimum": "1ms"})]

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
"""Of an object of Kubernetes."""

Url = Annotated[str, Field(pattern=r"^https?://[^/]+(/.*)?$", max_length=2048)]
