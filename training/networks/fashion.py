"""A small convolutional network for grey images of 28 x 28 pixels: 0.2 million parameters."""

from torch import Tensor, nn


class FashionNet(nn.Module):
    """Six convolutions at 28, 14, 7 and 3 pixels, three of them residual, and one linear layer."""

    def __init__(self, classes: int = 10, width: int = 16, dropout: float = 0) -> None:
        super().__init__()
        self.classes, self.width, self.dropout = classes, width, dropout
        self.features = nn.Sequential(
            _convolution(1, width),
            nn.MaxPool2d(2),
            _convolution(width, 3 * width),
            _Residual(3 * width, convolutions=1),
            nn.MaxPool2d(2),
            _convolution(3 * width, 6 * width),
            nn.MaxPool2d(2),
            _Residual(6 * width, convolutions=2),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(6 * width * 3 * 3, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Scores of shape (N, classes) for normalised images of shape (N, 1, 28, 28).

        In evaluation they are means over the image and its mirror image, since a mirrored shoe is a shoe.
        """
        if self.training:
            return self._scores(images)
        return (self._scores(images) + self._scores(images.flip(-1))) / 2

    def _scores(self, images: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.features(images))
        return scores


class _Residual(nn.Module):
    """Convolutions that learn what to add (He et al. 2016)."""

    def __init__(self, channels: int, *, convolutions: int) -> None:
        super().__init__()
        self.added = nn.Sequential(*(_convolution(channels, channels) for _ in range(convolutions)))

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = images + self.added(images)
        return result


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
