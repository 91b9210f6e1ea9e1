"""Any of torchvision's classifiers with a new head: `features`, then `classifier`."""

from torch import Tensor, nn
from torchvision import models


class Backbone(nn.Module):
    """The features of the network that torchvision calls `name`, and one linear layer for `classes`."""

    def __init__(self, name: str = "resnet18", classes: int = 10) -> None:
        super().__init__()
        self.name, self.classes = name, classes
        self.features = models.get_model(name, weights=None)
        path, head = [each for each in self.features.named_modules() if isinstance(each[1], nn.Linear)][-1]
        parent, _, last = path.rpartition(".")
        setattr(self.features.get_submodule(parent), last, nn.Identity())
        self.classifier = nn.Linear(head.in_features, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of shape (N, classes) for normalised images of shape (N, 3, H, W)."""
        scores: Tensor = self.classifier(self.features(images))
        return scores
