"""The base of every handler: four verbs to override, and everything else that serving a model needs."""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import responses
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from torchfinch.handler import batching, cores, explain, sample
from torchfinch.handler.answers import JSON, WIRE_VERSION, Answer, dumps, failure, join, shorten, within
from torchfinch.handler.archive import Archive
from torchfinch.handler.errors import HandlerError, Unprocessable
from torchfinch.handler.images import open_image
from torchfinch.handler.metrics import Metrics
from torchfinch.handler.requests import Options, Request, parse

Predictor = Callable[[Tensor], Tensor]
"""Anything from a batch of shape (N, C, H, W) to outputs of shape (N, K); an `nn.Module` is one."""


@dataclass
class _Item:
    """One image of one request on its way through the worker."""

    request: Request
    body: bytes | HandlerError
    tensor: Any = None
    """What `decode` returned, until the network has seen it."""
    result: bytes | HandlerError | Answer | None = None
    """Its answer in JSON, the error that it alone caused, or an answer that is no JSON."""


class ImageHandler:
    """Serve a model of images; override a verb to change one thing.

    `load` runs once per worker, `decode` once per image, `predict` once per batch, `encode` once per image. Raise a
    `HandlerError` in `decode` or `encode` to answer that image alone with its status.
    """

    archive: Archive
    """The unpacked archive: labels, preprocessing, configuration, device."""
    predictor: Predictor
    """What `load` returned."""
    options: Options
    """What the request asks for whose row is being encoded."""

    def load(self, archive: Archive) -> Predictor:
        """Once per worker: what turns a batch into outputs; a module is put into evaluation mode on the device."""
        return archive.network()

    def decode(self, body: bytes) -> Tensor:
        """One image's bytes to the network's input, shape (C, H, W); runs in a thread pool."""
        return self.archive.preprocessing(self.open_image(body))

    def predict(self, batch: Tensor) -> Tensor:
        """A batch of shape (N, C, H, W) on the device to final rows of shape (N, K)."""
        return self.predictor(batch)

    def encode(self, row: Tensor) -> JSON:
        """One row of shape (K,) on the CPU to the answer of its image."""
        return [float(value) for value in row]

    def open_image(self, body: bytes) -> Image.Image:
        """Decode an image to RGB within the archive's limits."""
        return open_image(body, self.archive.limits)

    def describe(self) -> JSON:
        """What the management API tells about the model with `?customized=true`."""
        lineage = self.archive.lineage
        return {
            "model": self.archive.name,
            "version": self.archive.version,
            "preprocessing": self.archive.settings.get("preprocessing"),
            "engine": f"torch {torch.__version__} on {self.archive.device}",
            "metrics": lineage.get("metrics"),
            "git_revision": lineage.get("git_revision"),
            "data_digest": lineage.get("data_digest"),
            "sdk_version": self.archive.settings.get("sdk_version"),
        }

    # What follows is the worker's contract with TorchServe and is not meant to be overridden.

    def initialize(self, context: Any) -> None:
        """Load and warm up; TorchServe calls the worker READY when this returns.

        Raises:
            ArchiveError: the archive cannot be served.
        """
        properties = context.system_properties
        gpu = properties.get("gpu_id")
        device = f"cuda:{gpu}" if gpu is not None and torch.cuda.is_available() else "cpu"
        config = context.model_yaml_config or {}
        self.archive = Archive(Path(properties["model_dir"]), manifest=context.manifest, config=config, device=device)
        threads = max(1, cores.available() // max(1, int(config.get("minWorkers") or 1)))
        torch.set_num_threads(threads)
        self.options = Options()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        stream = sys.stdout if properties.get("server_name") == "MMS" else None  # what TorchServe calls itself
        self._metrics = Metrics(model=self.archive.name, version=self.archive.version, stream=stream)
        self._lost = False
        batch_size = int(properties.get("batch_size") or config.get("batchSize") or 1)
        configured = self.archive.settings.get("batch_buckets")
        self._buckets = batching.bucket_sizes(configured, batch_size, gpu=device != "cpu")
        self._at_once = -(-threads // self._buckets[-1]) * self._buckets[-1]  # images that are held as tensors
        self.predictor = self.load(self.archive)
        if isinstance(self.predictor, nn.Module):
            self.predictor.eval().to(self.archive.device)
        self._warm_up()

    def handle(self, data: Sequence[dict[str, Any]], context: Any) -> list[bytes]:
        """Answer one batch of requests, each with its own status."""
        with self._metrics.stage("total"):
            requests = [self._parse(row, context.get_all_request_header(i)) for i, row in enumerate(data)]
            batches = [[] if isinstance(r, HandlerError) else [_Item(r, body) for body in r.bodies] for r in requests]
            items = [item for batch in batches for item in batch]
            for start in range(0, len(items), self._at_once):
                self._run(items[start : start + self._at_once])
            with self._metrics.stage("encode"):
                answers = [self._answer(request, batch) for request, batch in zip(requests, batches, strict=True)]
            for index, answer in enumerate(answers):
                self._send(context, index, answer)
        if self._lost:
            self._leave()
        return [answer.body for answer in answers]

    def _warm_up(self) -> None:
        try:
            tensor = self.decode(sample.image(self.archive.folder))
        except HandlerError:
            return  # a handler may refuse the sample; its first request warms it up instead
        for size in self._buckets:
            with torch.inference_mode():
                rows = self.predict(torch.stack([tensor] * size).to(self.archive.device))
        self._encode(rows[0].float().cpu(), Options())

    def _parse(self, row: dict[str, Any], headers: dict[str, Any]) -> Request | HandlerError:
        try:
            return parse(row, headers, self.archive.limits)
        except HandlerError as error:
            return error
        except Exception as error:  # noqa: BLE001 - one request must never end its batch
            return _unexpected("parse", error)

    def _run(self, items: Sequence[_Item]) -> None:
        with self._metrics.stage("decode"):
            run = self._pool.map if len(items) > 1 else map
            list(run(self._decode, items))
        decoded = [item for item in items if item.result is None]
        tensors = [item.tensor for item in decoded]
        with self._metrics.stage("predict"):
            rows = batching.run(
                self.predict, tensors, buckets=self._buckets, device=self.archive.device, works=self._works
            )
        for item, row in zip(decoded, rows, strict=True):
            item.result = row if isinstance(row, HandlerError) else self._finish(item, row)
            item.tensor = None

    def _decode(self, item: _Item) -> None:
        try:
            if isinstance(item.body, HandlerError):
                raise item.body  # noqa: TRY301
            item.tensor = self.decode(item.body)
        except HandlerError as error:
            item.result = error
        except Exception as error:  # noqa: BLE001 - a user's decode may raise anything
            item.result = _unexpected("decode", error)

    def _finish(self, item: _Item, row: Tensor) -> bytes | HandlerError | Answer:
        try:
            if not torch.isfinite(row).all():
                raise HandlerError("the model's output is not a finite number; report the image to its owner")  # noqa: TRY301
            if item.request.kind == "explain":
                return self._explain(item, row)
            return self._encode(row, item.request.options)
        except HandlerError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a user's encode may raise anything
            return _unexpected(item.request.kind, error) if self._works() else batching.LOST

    def _encode(self, row: Tensor, options: Options) -> bytes:
        self.options = options
        return dumps(self.encode(row))  # what is no JSON fails here, where it fails this image alone

    def _explain(self, item: _Item, row: Tensor) -> bytes | Answer:
        options = item.request.options
        target = int(row.argmax()) if options.target is None else options.target
        if target >= len(row):
            raise Unprocessable(f"target is {target}; use 0 to {len(row) - 1}")
        if options.format == "png" and len(item.request.bodies) > 1:
            raise Unprocessable("a PNG shows one image; send the images one by one, or ask for json")
        method = options.method or str(self.archive.settings.get("explain") or "integrated_gradients")
        pixels = item.tensor.to(self.archive.device)[None]
        found = explain.attribute(self.predictor, pixels, target=target, method=method)
        if options.format == "png":
            assert isinstance(item.body, bytes)
            seen = self.archive.preprocessing.crop(self.open_image(item.body))
            return Answer(200, explain.overlay(seen, found), "image/png")
        label = self.archive.labels[target] if target < len(self.archive.labels) else None
        told = {"method": method, "target": target, "label": label, "shape": list(found.shape)}
        return dumps({**told, "attributions": [[shorten(value, 4) for value in line] for line in found.tolist()]})

    def _answer(self, request: Request | HandlerError, items: Sequence[_Item]) -> Answer:
        try:
            return within(self.archive.limits.max_answer_bytes, self._joined(request, items))
        except Exception as error:  # noqa: BLE001 - a user's describe, or an error of his own, may raise anything
            kind = "answer" if isinstance(request, HandlerError) else request.kind
            return failure(_unexpected(kind, error))

    def _joined(self, request: Request | HandlerError, items: Sequence[_Item]) -> Answer:
        if isinstance(request, HandlerError):
            return failure(request)
        if request.kind == "describe":
            return Answer(200, dumps(self.describe()))
        if isinstance(items[0].result, Answer):
            return items[0].result
        results = [item.result for item in items if isinstance(item.result, (bytes, HandlerError))]
        return join(request, results, model=self.archive.name, version=self.archive.version)

    def _send(self, context: Any, index: int, answer: Answer) -> None:
        context.set_response_status(answer.status, responses.get(answer.status, ""), index)
        context.set_response_content_type(index, answer.content_type)
        for name, value in (("model", self.archive.name), ("version", self.archive.version), ("wire", WIRE_VERSION)):
            context.set_response_header(index, f"torchfinch-{name}", value)
        self._metrics.count("torchfinch_requests_total", {"code": str(answer.status)})

    def _works(self) -> bool:
        self._lost = self._lost or not self._device_works()
        return not self._lost

    def _device_works(self) -> bool:
        """Whether the device still computes; an illegal access poisons a CUDA context for good."""
        if self.archive.device.type != "cuda":
            return True
        try:
            return float(torch.ones(1, device=self.archive.device).add(1).item()) == 2.0
        except RuntimeError:
            return False

    def _leave(self) -> None:
        self._metrics.write()  # what its thread has not written yet would be lost
        # The reply must reach TorchServe first; then it sees a dead worker and starts another one.
        threading.Timer(0.5, os._exit, (1,)).start()


def _unexpected(where: str, error: Exception) -> HandlerError:
    return HandlerError(f"{where} failed: {type(error).__name__}: {error}"[:500])
