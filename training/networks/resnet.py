"""A residual network for small images (He et al. 2016): 2.8 million parameters at its usual width."""

from torch import Tensor, nn
from torch.nn import functional


class ResNet(nn.Module):
    """Three stages of two residual blocks, each stage at half the size and twice the channels of the one before."""

    def __init__(self, classes: int = 10, channels: int = 1, width: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        self.classes, self.channels, self.width, self.dropout = classes, channels, width, dropout
        self.features = nn.Sequential(
            _convolution(channels, width),
            nn.ReLU(),
            _Block(width, width),
            _Block(width, width),
            _Block(width, 2 * width, stride=2),
            _Block(2 * width, 2 * width),
            _Block(2 * width, 4 * width, stride=2),
            _Block(4 * width, 4 * width),
            nn.AdaptiveAvgPool2d(1),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(4 * width, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Scores of shape (N, classes) for normalised images of shape (N, channels, H, W)."""
        scores: Tensor = self.classifier(self.features(images))
        return scores


class _Block(nn.Module):
    """Two convolutions that learn what to add; where the shape changes, one of a pixel carries the images on."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.added = nn.Sequential(
            _convolution(inputs, outputs, stride=stride), nn.ReLU(), _convolution(outputs, outputs)
        )
        same = inputs == outputs and stride == 1
        self.carried = nn.Identity() if same else _convolution(inputs, outputs, kernel=1, stride=stride)

    def forward(self, images: Tensor) -> Tensor:
        return functional.relu(self.carried(images) + self.added(images))


def _convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs)
    )
