"""Running many images through one batched call, so that what one of them breaks stays its own."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from torchfinch.handler.errors import HandlerError, Unavailable

Predict = Callable[[Tensor], Tensor]


def default_buckets(batch_size: int, *, gpu: bool) -> tuple[int, ...]:
    """Batch sizes that the network ever sees, ascending.

    On a GPU powers of two, so that kernels and graphs are prepared once for each; on a CPU padding is wasted work, so
    small batches keep their size.
    """
    powers = {2**exponent for exponent in range(batch_size.bit_length()) if 2**exponent <= batch_size}
    small = set() if gpu else set(range(1, min(batch_size, 8) + 1))
    return tuple(sorted(powers | small | {batch_size}))


def run(
    predict: Predict,
    tensors: Sequence[Tensor],
    *,
    buckets: Sequence[int],
    device: torch.device,
    works: Callable[[], bool],
) -> list[Tensor | HandlerError]:
    """The row of every tensor, or the error that it alone caused.

    A batch that fails is run again one by one, unless `works` says that the device is gone: then all are told so.
    """
    results: list[Tensor | HandlerError] = []
    for start in range(0, len(tensors), buckets[-1]):
        results += _chunk(predict, tensors[start : start + buckets[-1]], buckets, device, works)
    return results


def _chunk(
    predict: Predict,
    tensors: Sequence[Tensor],
    buckets: Sequence[int],
    device: torch.device,
    works: Callable[[], bool],
) -> list[Tensor | HandlerError]:
    try:
        return list(_forward(predict, torch.stack(list(tensors)), buckets, device))
    except HandlerError as error:
        if len(tensors) == 1:
            return [error]
    except Exception as error:  # noqa: BLE001 - a network may raise anything
        if not works():
            return [Unavailable("the device of this worker failed; send the request again")] * len(tensors)
        if len(tensors) == 1:
            return [HandlerError(f"the model failed on this image: {type(error).__name__}: {error}"[:500])]
    return [result for tensor in tensors for result in _chunk(predict, [tensor], buckets, device, works)]


def _forward(predict: Predict, batch: Tensor, buckets: Sequence[int], device: torch.device) -> Tensor:
    count = len(batch)
    missing = next(bucket for bucket in buckets if bucket >= count) - count
    padded = torch.cat([batch, batch[-1:].expand(missing, *batch.shape[1:])]) if missing else batch
    with torch.inference_mode():
        rows = predict(padded.to(device, non_blocking=True))
    if len(rows) != len(padded):
        raise HandlerError(f"predict returned {len(rows)} rows for {len(padded)} images; return one row per image")
    return rows[:count].float().cpu()
