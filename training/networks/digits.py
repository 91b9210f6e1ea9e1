"""A small convolutional network for grey images of 8 x 8 pixels."""

from torch import Tensor, nn


class DigitsNet(nn.Module):
    """Four convolutions, two of them at half the size, and one linear layer."""

    def __init__(self, classes: int = 10, width: int = 32) -> None:
        super().__init__()
        self.classes, self.width = classes, width
        self.features = nn.Sequential(
            _convolution(1, width),
            _convolution(width, width),
            nn.MaxPool2d(2),
            _convolution(width, 2 * width),
            _convolution(2 * width, 2 * width),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(2 * width * 2 * 2, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Scores of shape (N, classes) for normalised images of shape (N, 1, 8, 8)."""
        scores: Tensor = self.classifier(self.features(images))
        return scores


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
