"""Our reader and writer agree with the safetensors package, and refuse what is broken."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from torchfinch.handler import ArchiveError
from torchfinch.handler.safetensors import load, save

TENSORS = {
    "weight": torch.randn(3, 4),
    "scalar": torch.tensor(2.5, dtype=torch.float64),
    "count": torch.arange(7),
    "half": torch.randn(2, 2).to(torch.bfloat16),
    "mask": torch.tensor([True, False]),
    "empty": torch.empty(0, 3),
}


def test_the_package_reads_what_we_write(tmp_path: Path) -> None:
    save(TENSORS, tmp_path / "w")
    theirs = safetensors.torch.load_file(tmp_path / "w")

    assert theirs.keys() == TENSORS.keys()
    assert all(torch.equal(theirs[name], TENSORS[name]) for name in TENSORS)


def test_we_read_what_the_package_writes(tmp_path: Path) -> None:
    safetensors.torch.save_file(TENSORS, tmp_path / "w", metadata={"format": "pt"})
    ours = load(tmp_path / "w")

    assert ours.keys() == TENSORS.keys()
    assert all(torch.equal(ours[name], TENSORS[name]) for name in TENSORS)


def test_order_does_not_change_the_bytes(tmp_path: Path) -> None:
    save(TENSORS, tmp_path / "a")
    save(dict(reversed(TENSORS.items())), tmp_path / "b")

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def _file(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        (2**40).to_bytes(8, "little") + b"{}",
        _file([]),
        _file({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234"),
        _file({"w": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}, b"12345678"),
        _file({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, b"12345678"),
        _file({"w": {"dtype": "F31", "shape": [2], "data_offsets": [0, 8]}}, b"12345678"),
        _file({"w": {"dtype": "F32", "shape": [-2, -1], "data_offsets": [0, 8]}}, b"12345678"),
        _file({"w": 1}),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w").write_bytes(content)

    with pytest.raises(ArchiveError):
        load(tmp_path / "w")
