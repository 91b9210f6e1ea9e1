"""Run a network over images that lie in memory."""

import torch
from torch import Tensor, nn

from torchfinch.handler import Preprocessing


def probabilities(model: nn.Module, images: Tensor, *, preprocessing: Preprocessing, batch_size: int = 256) -> Tensor:
    """The softmax of the network's scores for uint8 `images` of shape (N, C, H, W): float32 (N, classes), on the CPU.

    The network runs where its weights are, in evaluation mode, and is left in the mode it was in.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            rows = [
                model(preprocessing.normalise(batch.to(device))).softmax(dim=1) for batch in images.split(batch_size)
            ]
        return torch.cat(rows).cpu()
    finally:
        model.train(training)
