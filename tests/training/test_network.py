"""A network must be one that a server can build again."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from torchfinch.errors import TorchfinchError
from torchfinch.training.network import describe, source


class Kept(nn.Module):
    """Keeps its arguments."""

    def __init__(self, classes: int, widths: tuple[int, ...] = (8, 16)) -> None:
        super().__init__()
        self.classes, self.widths = classes, widths


class Forgotten(nn.Module):
    """Keeps nothing."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(width, 2)


class Hidden(nn.Module):
    """Keeps a layer where its argument should be."""

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)


def test_the_class_and_its_arguments_are_plain_data() -> None:
    assert describe(Kept(3)) == {"class": "Kept", "arguments": {"classes": 3, "widths": [8, 16]}}


def test_an_argument_that_is_not_kept_is_told() -> None:
    with pytest.raises(TorchfinchError, match=r"Forgotten takes width .*self\.width = width in Forgotten\.__init__"):
        describe(Forgotten())


def test_an_argument_that_is_no_plain_value_is_told() -> None:
    with pytest.raises(TorchfinchError, match=r"Hidden\.dropout is a Dropout"):
        describe(Hidden())


def test_a_network_in_a_file_that_imports_more_than_torch_is_told() -> None:
    with pytest.raises(TorchfinchError, match=r"test_network\.py imports pytest .*give Kept a file of its own"):
        source(Kept(3))


def test_a_network_of_a_package_is_told() -> None:
    from torchvision.models import resnet18

    with pytest.raises(TorchfinchError, match=r"resnet\.py imports \.\.\S* .*give ResNet a file of its own"):
        source(resnet18())


@pytest.mark.parametrize(("size", "kernel", "stride"), [(224, 3, 2), (112, 5, 2), (7, 5, 1), (15, 3, 2), (1, 5, 2)])
def test_same_padding_is_tensorflows(size: int, kernel: int, stride: int) -> None:
    path = Path(__file__).parents[2] / "training" / "networks" / "efficientnet_lite0.py"
    spec = importlib.util.spec_from_file_location("efficientnet_lite0", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    convolution = module.SameConv2d(1, 1, kernel, stride=stride)
    nn.init.ones_(convolution.weight)
    output = convolution(torch.ones(1, 1, size, size))

    # TensorFlow: ceil(size / stride) outputs; the window of output i starts at i * stride - total // 2.
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    starts = [i * stride - total // 2 for i in range(outputs)]
    covered = torch.tensor([float(min(start + kernel, size) - max(start, 0)) for start in starts])
    torch.testing.assert_close(output[0, 0], covered[:, None] * covered[None, :])
