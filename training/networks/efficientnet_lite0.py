"""EfficientNet-Lite0: the EfficientNet without squeeze-and-excitation, and with ReLU6.

Published with the weights at https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite. Names of
the parts are those of the weights' file, which come from EfficientNet-PyTorch; padding is TensorFlow's "same".
"""

import math

from torch import Tensor, nn
from torch.nn import functional

_EPSILON = 1e-3  # TensorFlow's for batch normalisation; PyTorch's own is 1e-5
_STAGES = (  # blocks, kernel, stride, expansion, channels out (EfficientNet, table 1)
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class EfficientNetLite0(nn.Module):
    """4.65 million weights for images of 224 x 224 pixels."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.classes = classes
        self._conv_stem = SameConv2d(3, 32, 3, stride=2)
        self._bn0 = nn.BatchNorm2d(32, eps=_EPSILON)
        self._blocks = nn.ModuleList(_blocks(32))
        self._conv_head = SameConv2d(320, 1280, 1)
        self._bn1 = nn.BatchNorm2d(1280, eps=_EPSILON)
        self._dropout = nn.Dropout(0.2)
        self._fc = nn.Linear(1280, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of shape (N, classes) for normalised images of shape (N, 3, H, W)."""
        features = functional.relu6(self._bn0(self._conv_stem(images)))
        for block in self._blocks:
            features = block(features)
        features = functional.relu6(self._bn1(self._conv_head(features)))
        scores: Tensor = self._fc(self._dropout(features.mean(dim=(2, 3))))
        return scores


class Block(nn.Module):
    """Widen, convolve every channel alone, narrow; with the input added where the shape is the same."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.adds_input = stride == 1 and inputs == outputs
        self.expands = expansion > 1
        if self.expands:
            self._expand_conv = SameConv2d(inputs, wide, 1)
            self._bn0 = nn.BatchNorm2d(wide, eps=_EPSILON)
        self._depthwise_conv = SameConv2d(wide, wide, kernel, stride=stride, groups=wide)
        self._bn1 = nn.BatchNorm2d(wide, eps=_EPSILON)
        self._project_conv = SameConv2d(wide, outputs, 1)
        self._bn2 = nn.BatchNorm2d(outputs, eps=_EPSILON)

    def forward(self, inputs: Tensor) -> Tensor:
        """Features of shape (N, outputs, H / stride, W / stride)."""
        features: Tensor = functional.relu6(self._bn0(self._expand_conv(inputs))) if self.expands else inputs
        features = functional.relu6(self._bn1(self._depthwise_conv(features)))
        features = self._bn2(self._project_conv(features))
        return features + inputs if self.adds_input else features


class SameConv2d(nn.Conv2d):
    """A convolution whose output has `ceil(size / stride)` pixels; an odd padding pixel goes right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Pad as TensorFlow's "same" does, and convolve."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max((math.ceil(size / stride) - 1) * stride + kernel - size, 0) for size in input.shape[2:])
        padded = functional.pad(input, (width // 2, width - width // 2, height // 2, height - height // 2))
        return super().forward(padded)


def _blocks(inputs: int) -> list[Block]:
    blocks = []
    for count, kernel, stride, expansion, outputs in _STAGES:
        for position in range(count):
            first = position == 0
            blocks.append(
                Block(
                    inputs if first else outputs,
                    outputs,
                    kernel=kernel,
                    stride=stride if first else 1,
                    expansion=expansion,
                )
            )
        inputs = outputs
    return blocks
