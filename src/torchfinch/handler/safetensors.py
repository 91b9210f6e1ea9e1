"""The safetensors format: a JSON header and raw little-endian bytes, so that loading weights runs no code.

Layout (https://huggingface.co/docs/safetensors, format section): 8 bytes header length, the header
`{name: {"dtype", "shape", "data_offsets"}}`, then the tensors' bytes without gaps.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchfinch.handler.errors import ArchiveError

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_HEADER = 100_000_000


def save(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write `tensors` to `path`; the same tensors give the same bytes whatever their order."""
    header: dict[str, Any] = {}
    chunks: list[bytes] = []
    offset = 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        chunk = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        end = offset + len(chunk)
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        chunks.append(chunk)
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format asks for aligned data
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.writelines(chunks)


def load(path: Path) -> dict[str, Tensor]:
    """Read every tensor of `path` to the CPU.

    Raises:
        ArchiveError: the file is not safetensors, or its header disagrees with its size.
    """
    content = bytearray(path.read_bytes())
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(len(content) - 8, _MAX_HEADER):
        raise ArchiveError(f"{path.name} is not a safetensors file; save the weights with torchfinch or safetensors")
    try:
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__", None)
        data = memoryview(content)[8 + length :]
        return {name: _tensor(entry, data) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ArchiveError(f"{path.name} is a broken safetensors file: {error}") from error


def _tensor(entry: Mapping[str, Any], data: memoryview) -> Tensor:
    dtype, shape, (start, end) = _DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
    size = math.prod(shape) * dtype.itemsize
    if not 0 <= start <= end <= len(data) or end - start != size or min(shape, default=0) < 0:
        raise ValueError(f"offsets {start}..{end} do not hold a {entry['dtype']} tensor of shape {shape}")
    if size == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(data[start:end], dtype=torch.uint8).view(dtype).reshape(shape)
