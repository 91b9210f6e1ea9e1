"""Run by torchrun: fit the small network with the settings of a file, and leave what process 0 has of it."""

import json
import sys
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from training.helpers import DATA, GREY, Linear, Small, fitted, flat

from torchfinch.training import Checkpoints, rank

asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
batches = count()


def noisy(pixels: Tensor, chance: torch.Generator) -> Tensor:
    """Noise of its own in every process, until the batch that is asked for."""
    if next(batches) == asked["stop"]:
        sys.exit()
    noise: float = asked["noise"]
    return pixels + noise * torch.randn(pixels.shape, generator=chance) if noise else pixels


torch.manual_seed(rank())  # other first weights in every process: those of process 0 count
model, history = fitted(
    {"linear": Linear, "batch norm": Small}[asked["network"]](dropout=asked["dropout"]),
    replace(DATA, augment=noisy),
    checkpoints=Checkpoints(Path("checkpoints"), identity={}),
    resume=asked["resume"],
    **asked["settings"],
)
if not rank():
    assert DATA.validation
    with torch.inference_mode():
        scores = model(GREY.normalise(DATA.validation.pixels))
    loss = functional.cross_entropy(scores, DATA.validation.targets).item()
    known = {"weights": flat(model).tolist(), "validation_loss": loss}
    content = {**known, "history": [asdict(epoch) for epoch in history]}
    Path(sys.argv[2]).write_text(json.dumps(content), encoding="utf-8")
