"""A small convolutional network that predicts one number from a grey image of 16 x 16 pixels."""

from torch import Tensor, nn


class AngleNet(nn.Module):
    """Four convolutions and two linear layers; the output is in units of `scale`."""

    def __init__(self, width: int = 24, scale: float = 30.0) -> None:
        super().__init__()
        self.width, self.scale = width, scale
        self.features = nn.Sequential(
            _convolution(1, width),
            _convolution(width, width),
            nn.MaxPool2d(2),
            _convolution(width, 2 * width),
            _convolution(2 * width, 2 * width),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(2 * width * 4 * 4, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Numbers of shape (N, 1) for normalised images of shape (N, 1, 16, 16)."""
        numbers: Tensor = self.head(self.features(images)) * self.scale
        return numbers


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
