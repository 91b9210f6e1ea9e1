"""From results to HTTP: JSON bytes, joined in the form that the request came in."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from torchfinch.handler.errors import HandlerError, TooLarge
from torchfinch.handler.requests import Request

try:
    import orjson
except ImportError:  # an extra; the standard library gives the same JSON, more slowly
    orjson = None  # type: ignore[assignment]

WIRE_VERSION = "1"
"""Version of the form of answers and metrics, sent as the header `torchfinch-wire`."""

JSON: TypeAlias = Any
"""What JSON can hold: objects, lists, text, finite numbers, booleans and null."""


@dataclass(frozen=True)
class Answer:
    """What goes back for one HTTP request."""

    status: int
    body: bytes
    content_type: str = "application/json"


def dumps(value: JSON) -> bytes:
    """Encode as UTF-8 JSON; half a surrogate pair, which UTF-8 cannot hold, becomes a question mark.

    Raises:
        ValueError: a number is not finite, or a value is nothing that JSON can hold.
    """
    if orjson is not None and _finite(value):
        with suppress(TypeError):  # what orjson refuses, half a surrogate pair among it, the standard library decides
            return orjson.dumps(value)
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except TypeError as error:
        raise ValueError(f"the answer is not JSON: {error}") from error
    return text.encode(errors="replace")


def _finite(value: JSON) -> bool:
    # orjson writes null for a number that is not finite; json refuses it, and so do we
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_finite, value))
    return not isinstance(value, float) or value - value == 0


def shorten(value: float, digits: int = 6) -> float:
    """`value` with so many significant digits; a float32 holds no more than 7, the rest would be noise."""
    return float(f"{value:.{digits}g}")


def failure(error: HandlerError) -> Answer:
    """The answer to a request that failed as a whole."""
    return Answer(_status(error), dumps(_error_body(error)))


def join(request: Request, results: Sequence[bytes | HandlerError], *, model: str, version: str) -> Answer:
    """One answer from the results of a request's images, JSON or errors; it fails only when every image failed."""
    errors = [result for result in results if isinstance(result, HandlerError)]
    status = max(map(_status, errors)) if errors and len(errors) == len(results) else 200
    if request.form == "single":
        result = results[0]
        return failure(result) if isinstance(result, HandlerError) else Answer(200, result)
    entries = [dumps({"error": _error_body(r)}) if isinstance(r, HandlerError) else r for r in results]
    if request.form != "v2":
        return Answer(status, b'{"predictions":[' + b",".join(entries) + b"]}")
    tensor = {"name": "predictions", "datatype": "BYTES", "shape": [len(entries)]}
    output = {**tensor, "data": [entry.decode() for entry in entries]}
    identity = {"id": request.id} if request.id else {}
    return Answer(status, dumps({"model_name": model, "model_version": version, **identity, "outputs": [output]}))


def within(most: int, answer: Answer) -> Answer:
    """The answer, or the error that stands for one of more than `most` bytes."""
    if len(answer.body) <= most:
        return answer
    problem = f"the answer has {len(answer.body)} bytes, more than {most}"
    return failure(TooLarge(f"{problem}; send fewer images at once, or ask for an explanation as png"))


def _error_body(error: HandlerError) -> dict[str, JSON]:
    return {"code": _status(error), "type": error.code, "message": str(error)}


def _status(error: HandlerError) -> int:
    """The error's own status where it is one of HTTP's errors, named there or not; else 500."""
    return int(error.status) if error.status in range(400, 600) else 500
