"""Running many images through one batched call, so that what one of them breaks stays its own."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from torchfinch.handler.errors import ArchiveError, HandlerError, Unavailable

Predict = Callable[[Tensor], Tensor]
LOST = Unavailable("the device of this worker failed; send the request again")


def bucket_sizes(configured: Sequence[int] | None, batch_size: int, *, gpu: bool) -> tuple[int, ...]:
    """Batch sizes that the network ever sees, ascending: those of the archive's configuration, if it has any.

    Else on a GPU powers of two, so that kernels and graphs are prepared once for each; on a CPU padding is wasted work,
    so small batches keep their size.

    Raises:
        ArchiveError: a configured size is less than 1.
    """
    if configured:
        if min(sizes := {int(size) for size in configured}) < 1:
            raise ArchiveError(f"handler.batch_buckets is {configured}; use sizes from 1 on")
        return tuple(sorted(sizes))
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
    """The row of every tensor, or the error that it alone caused; at most `buckets[-1]` of them at once.

    A batch that fails is run again one by one, unless `works` says that the device is gone: then all are told so.
    """
    again, most = partial(run, predict, buckets=buckets, device=device, works=works), buckets[-1]
    if not 0 < len(tensors) <= most:
        return [row for start in range(0, len(tensors), most) for row in again(tensors[start : start + most])]
    try:
        return list(_forward(predict, torch.stack(list(tensors)), buckets, device))
    except HandlerError as error:
        if len(tensors) == 1:
            return [error]
    except Exception as error:  # noqa: BLE001 - a network may raise anything
        if not works():
            return [LOST] * len(tensors)
        if len(tensors) == 1:
            return [HandlerError(f"the model failed on this image: {type(error).__name__}: {error}"[:500])]
    return [row for tensor in tensors for row in again([tensor])]


def _forward(predict: Predict, batch: Tensor, buckets: Sequence[int], device: torch.device) -> Tensor:
    count = len(batch)
    missing = next(bucket for bucket in buckets if bucket >= count) - count
    padded = torch.cat([batch, batch[-1:].expand(missing, *batch.shape[1:])]) if missing else batch
    with torch.inference_mode():
        rows = predict(padded.to(device, non_blocking=True))
    if len(rows) != len(padded):
        raise HandlerError(f"predict returned {len(rows)} rows for {len(padded)} images; return one row per image")
    return rows[:count].float().cpu()
