"""Test a handler with no server: a fake of TorchServe's context, its way to load a handler, and images that hurt.

It imports nothing of torchfinch, so that `torchfinch verify` can run it in a process where only the archive is on
the path.
"""

import importlib
import inspect
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml


class FakeRequest:
    """What TorchServe keeps of one request: its headers, and what the handler says about the answer."""

    def __init__(self, headers: Mapping[str, Any]) -> None:
        self.headers = dict(headers)
        self.status = 200
        self.phrase = ""
        self.response_headers: dict[str, str] = {}


class FakeContext:
    """The context that a TorchServe 0.12 worker gives to a handler, with what the handler said readable after it."""

    def __init__(
        self,
        model_dir: Path,
        *,
        manifest: Mapping[str, Any] | None = None,
        model_yaml_config: Mapping[str, Any] | None = None,
        gpu_id: int | None = None,
    ) -> None:
        self.manifest = manifest if manifest is not None else _read_manifest(model_dir)
        self.model_yaml_config = dict(
            model_yaml_config if model_yaml_config is not None else _read_config(model_dir, self.manifest)
        )
        self.model_name = self.manifest["model"]["modelName"]
        self.system_properties = {
            "model_dir": str(model_dir),
            "gpu_id": gpu_id,
            "batch_size": int(self.model_yaml_config.get("batchSize") or 1),
            "server_name": "torchfinch.testing",
            "server_version": "0.12.0",
            "limit_max_image_pixels": True,
        }
        self.metrics = FakeMetrics()
        self.requests: list[FakeRequest] = []
        self.request_ids: dict[int, str] = {}

    def new_batch(self, headers: Sequence[Mapping[str, Any]]) -> None:
        """Begin a batch of as many requests as there are mappings of headers."""
        self.requests = [FakeRequest(each) for each in headers]
        self.request_ids = {index: f"request-{index}" for index in range(len(headers))}

    def get_request_id(self, idx: int = 0) -> str | None:
        """The identifier of a request."""
        return self.request_ids.get(idx)

    def get_request_header(self, idx: int, key: str) -> Any:
        """One header of a request, or `None`."""
        return self.requests[idx].headers.get(key)

    def get_all_request_header(self, idx: int) -> dict[str, Any]:
        """All headers of a request."""
        return self.requests[idx].headers

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Set the HTTP status of one answer."""
        self.requests[idx].status, self.requests[idx].phrase = code, phrase

    def set_all_response_status(self, code: int = 200, phrase: str = "") -> None:
        """Set the HTTP status of every answer."""
        for index in range(len(self.requests)):
            self.set_response_status(code, phrase, index)

    def get_response_status(self, idx: int) -> tuple[int, str]:
        """Status and phrase of one answer."""
        return self.requests[idx].status, self.requests[idx].phrase

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Set the content type of one answer."""
        self.set_response_header(idx, "content-type", value)

    def get_response_content_type(self, idx: int) -> str | None:
        """The content type of one answer."""
        return self.requests[idx].response_headers.get("content-type")

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """Set a header of one answer."""
        self.requests[idx].response_headers[key] = value

    def get_response_headers(self, idx: int) -> dict[str, str]:
        """The headers of one answer."""
        return self.requests[idx].response_headers


class FakeMetrics:
    """Accepts every metric that a handler may add, and keeps none."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_args, **_kwargs: self


def load_handler(model_dir: Path, context: FakeContext) -> Any:
    """Load the archive's handler as a worker does, initialise it, and return something with `handle(data, context)`.

    The archive's folder is first on `sys.path` meanwhile, as in a worker, and last afterwards: what the archive brings
    (its own torchfinch among it) hides nothing from processes that are started later. Its modules are loaded afresh,
    whatever another archive called its own.

    Raises:
        ValueError: the module defines neither a function `handle` nor exactly one class.
    """
    for name in {file.stem for file in model_dir.glob("*.py")} - sys.stdlib_module_names:
        sys.modules.pop(name, None)
    sys.path.insert(0, str(model_dir))
    try:
        return _handler(model_dir, context)
    finally:
        sys.path.append(sys.path.pop(sys.path.index(str(model_dir))))


def _handler(model_dir: Path, context: FakeContext) -> Any:
    name = str(context.manifest["model"]["handler"]).split(":")[0].removesuffix(".py").split("/")[-1]
    builtin = not (model_dir / f"{name}.py").exists()
    module = importlib.import_module(f"ts.torch_handler.{name}" if builtin else name)
    if hasattr(module, "handle"):
        module.handle(None, context)
        return module
    classes = [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module.__name__]
    if len(classes) != 1:
        found = ", ".join(c.__name__ for c in classes) or "none"
        raise ValueError(f"{name}.py defines {len(classes)} classes ({found}); TorchServe needs exactly one")
    handler: Any = classes[0]()
    handler.initialize(context)
    return handler


def predict(
    handler: Any, context: FakeContext, *bodies: Any, headers: Mapping[str, str] | None = None
) -> list[tuple[int, Any]]:
    """Send bodies as one batch; a status and the decoded JSON (or the bytes of a PNG) for each."""
    context.new_batch([headers or {}] * len(bodies))
    answers = handler.handle([{"body": body} for body in bodies], context)
    return [(context.get_response_status(i)[0], _decode(answer)) for i, answer in enumerate(answers)]


def encode_image(image: Any, format: str = "PNG", **options: Any) -> bytes:  # noqa: A002 - Pillow's own word
    """The bytes of a Pillow image or a uint8 array in an image format."""
    from PIL import Image  # noqa: PLC0415

    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def _decode(answer: Any) -> Any:
    if not isinstance(answer, (bytes, bytearray, str)):
        return answer
    try:
        return json.loads(answer)
    except ValueError:
        return answer


def _read_manifest(model_dir: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((model_dir / "MAR-INF" / "MANIFEST.json").read_text(encoding="utf-8"))
    return content


def _read_config(model_dir: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    name = manifest["model"].get("configFile")
    return (yaml.safe_load((model_dir / name).read_text(encoding="utf-8")) or {}) if name else {}
