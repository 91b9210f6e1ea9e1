"""A small convolutional network for grey images of 28 x 28 pixels of digits: 70,000 parameters."""

from torch import Tensor, nn


class MnistNet(nn.Module):
    """Five convolutions, one at 28 pixels and two each at 14 and 7, and one linear layer."""

    def __init__(self, classes: int = 10, width: int = 16, dropout: float = 0.3) -> None:
        super().__init__()
        self.classes, self.width, self.dropout = classes, width, dropout
        self.features = nn.Sequential(
            *(_convolution(1, width), nn.MaxPool2d(2)),
            *(_convolution(width, 2 * width), _convolution(2 * width, 2 * width), nn.MaxPool2d(2)),
            *(_convolution(2 * width, 4 * width), _convolution(4 * width, 4 * width), nn.AdaptiveAvgPool2d(2)),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(4 * width * 2 * 2, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Scores of shape (N, classes) for normalised images of shape (N, 1, 28, 28)."""
        scores: Tensor = self.classifier(self.features(images))
        return scores


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
