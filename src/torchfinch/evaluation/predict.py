"""Run a network over images that lie in memory."""

import torch
from torch import Tensor, nn

from torchfinch.handler import Preprocessing


def outputs(model: nn.Module, images: Tensor, *, preprocessing: Preprocessing, batch_size: int = 256) -> Tensor:
    """What the network says of uint8 `images` of shape (N, C, H, W): float32 (N, outputs), on the CPU.

    The network runs where its weights are, in evaluation mode, and is left in the mode it was in.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            rows = [model(preprocessing.normalise(batch.to(device))).float() for batch in images.split(batch_size)]
        return torch.cat(rows).cpu()
    finally:
        model.train(training)


def probabilities(model: nn.Module, images: Tensor, *, preprocessing: Preprocessing, batch_size: int = 256) -> Tensor:
    """The softmax of a classifier's `outputs`: float32 (N, classes)."""
    return outputs(model, images, preprocessing=preprocessing, batch_size=batch_size).softmax(dim=1)
