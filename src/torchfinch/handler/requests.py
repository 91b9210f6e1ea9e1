"""From what TorchServe hands over to images and options: one `Request` for each HTTP request.

Understood are raw bytes, multipart, `{"image": base64}`, `{"data": base64}`, KServe v1 `{"instances": [...]}` and
KServe v2 `{"inputs": [...]}`; options come as JSON fields, as multipart fields, or as `torchfinch-*` headers.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torchfinch.handler.errors import BadRequest, HandlerError, TooLarge, Unprocessable
from torchfinch.handler.images import Limits

ACCEPTED = 'image bytes, {"image": base64}, {"instances": [{"b64": base64}]} or {"inputs": [...]}'
METHODS = ("integrated_gradients", "saliency", "occlusion", "grad_cam")
_OPTIONS = ("top_k", "method", "target", "format")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What one request asks for beside its images."""

    top_k: int | None = None
    """Labels in `probabilities`; 0 for all, `None` for what the archive says."""
    method: str | None = None
    """How to explain, one of `METHODS`; `None` for what the archive says."""
    target: int | None = None
    """The class to explain; `None` for the predicted one."""
    format: str = "json"
    """Form of an explanation: `json` or `png`."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One HTTP request: its images, or the error that stands for one, and the form its answer must have."""

    bodies: tuple[bytes | HandlerError, ...]
    form: str = "single"
    """`single` answers with one object, `many` and `v1` with a list under `predictions`, `v2` with `outputs`."""
    kind: str = "predict"
    """`predict`, `explain` or `describe`."""
    options: Options = field(default_factory=Options)
    id: str | None = None
    """The identifier that KServe v2 echoes."""


def parse(row: Mapping[str, Any], headers: Mapping[str, Any], limits: Limits) -> Request:
    """Read one row of a TorchServe batch.

    Raises:
        HandlerError: the request as a whole cannot be understood; a broken image among several is kept as its error.
    """
    plain = {key.lower(): value for key, value in headers.items() if isinstance(value, str)}
    # TorchServe writes True or False over a client's own `explain`; only its management leaves that out
    asked = "explain" if "explain" in headers else "describe"
    kind = asked if headers.get(asked) == "True" else "predict"
    if kind == "describe":
        return Request(bodies=(), kind=kind)
    content = _content(row, plain.get("content-type", ""))
    fields = {**_header_options(plain), **{key: content[key] for key in _OPTIONS if content.get(key) is not None}}
    form, values = _images(content)
    most = limits.max_images if kind == "predict" else min(limits.max_images, 8)  # an explanation takes seconds
    if len(values) > most:
        raise TooLarge(f"the request has {len(values)} images; send at most {most} at once")
    return Request(
        bodies=tuple(_body(value, limits.max_bytes) for value in values),
        form=form,
        kind=kind,
        options=_options(fields),
        id=content["id"] if isinstance(content.get("id"), str) else None,
    )


def _content(row: Mapping[str, Any], content_type: str) -> Mapping[str, Any]:
    """The request as named fields, whether it came as JSON, as multipart, or as bare bytes."""
    if set(row) - {"body", "data"}:
        return _form(row)
    body = row.get("data") if row.get("body") is None else row["body"]
    if isinstance(body, Mapping):
        return body
    if isinstance(body, (bytes, bytearray, memoryview)) and _is_json(bytes(body[:64]), content_type):
        return _json_object(bytes(body))
    if isinstance(body, list):
        raise Unprocessable(f"the JSON is a list; send {ACCEPTED}")
    if body is None:
        raise BadRequest("the request has no body; send a file with curl -T FILE")
    return {"image": body}


def _form(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parts of a multipart form: options by name, and as images the others, but for text beside a file.

    TorchServe does not tell fields from files, and no image is text.
    """
    options = {key: _text(value) for key, value in row.items() if key in _OPTIONS}
    parts = [value for key, value in row.items() if key not in _OPTIONS]
    files = [part for part in parts if not _is_text(part)] or parts
    return {**options, "image": files[0] if len(files) == 1 else files}


def _is_text(value: Any) -> bool:
    try:
        return isinstance(value, (bytes, bytearray)) and "\0" not in value.decode()
    except UnicodeDecodeError:
        return False


def _text(value: Any) -> Any:
    return bytes(value).decode(errors="replace") if isinstance(value, (bytes, bytearray)) else value


def _is_json(start: bytes, content_type: str) -> bool:
    return "json" in content_type.lower() or start.lstrip()[:1] in {b"{", b"["}


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON ({error}); send {ACCEPTED}") from error
    if not isinstance(content, dict):
        raise Unprocessable(f"the JSON is a {type(content).__name__}; send {ACCEPTED}")
    return content


def _images(content: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """The form of the request and its encoded images."""
    if "instances" in content:
        return "v1", [_instance(value) for value in _list(content["instances"], "instances")]
    if "inputs" in content:
        return "v2", [value for tensor in _list(content["inputs"], "inputs") for value in _v2_values(tensor)]
    for key in ("image", "data"):
        if key in content and not isinstance(content[key], list):
            return "single", [content[key]]
        if key in content:
            return "many", [_instance(value) for value in _list(content[key], key)]
    names = ", ".join(sorted(map(str, content))[:5]) or "nothing"
    raise Unprocessable(f"the request has no image (found: {names}); send {ACCEPTED}")


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise Unprocessable(f"{name!r} must be a list with at least one image; send {ACCEPTED}")
    return value


def _instance(value: Any) -> Any:
    """An instance is base64, or an object that holds base64 (or another such object) under a known name."""
    for _ in range(2):
        if isinstance(value, Mapping):
            value = next((value[key] for key in ("b64", "image", "data", "image_bytes") if key in value), None)
    return value


def _v2_values(tensor: Any) -> list[Any]:
    if not isinstance(tensor, Mapping) or tensor.get("datatype") != "BYTES":
        raise Unprocessable('each of "inputs" needs "datatype": "BYTES" and base64 images in "data"')
    return [_instance(value) for value in _list(tensor.get("data"), "data")]


def _body(value: Any, max_bytes: int) -> bytes | HandlerError:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if value is None:
        return Unprocessable("an image is missing, or null; send base64 text")
    if not isinstance(value, str):
        return Unprocessable(f"an image is a {type(value).__name__}; send base64 text")
    text = value.split(",", 1)[-1] if value.startswith("data:") else value
    if len(text) * 3 // 4 > max_bytes + 2:
        return TooLarge(f"the image has about {len(text) * 3 // 4} bytes; send at most {max_bytes}")
    try:
        compact = "".join(text.split()).translate(str.maketrans("-_", "+/"))
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        return BadRequest(f"the image is not base64 ({error}); send image bytes or base64 text")


def _header_options(headers: Mapping[str, str]) -> dict[str, Any]:
    found = {name: headers.get(f"torchfinch-{name.replace('_', '-')}") for name in _OPTIONS}
    if found["format"] is None and "image/png" in headers.get("accept", ""):
        found["format"] = "png"
    return {name: value for name, value in found.items() if value is not None}


def _options(fields: Mapping[str, Any]) -> Options:
    top_k, method, form = fields.get("top_k"), fields.get("method"), fields.get("format", "json")
    if method is not None and method not in METHODS:
        raise Unprocessable(f"method is {method!r}; use one of {', '.join(METHODS)}")
    if form not in ("json", "png"):
        raise Unprocessable(f"format is {form!r}; use json or png")
    return Options(
        top_k=0 if top_k == "all" else _whole(top_k, "top_k", least=1),
        method=method,
        target=_whole(fields.get("target"), "target", least=0),
        format=form,
    )


def _whole(value: Any, name: str, *, least: int) -> int | None:
    if value is None:
        return None
    try:
        number = int(str(value))
    except ValueError:
        number = least - 1
    if number < least:
        raise Unprocessable(f"{name} is {value!r}; use a whole number from {least} on")
    return number
