"""Run by torchrun: fit the small network with the settings of a file, and leave process 0's weights and history."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from training.helpers import Linear, fitted, flat

from torchfinch.training import rank

torch.manual_seed(rank())  # other first weights in every process: those of process 0 count
model, history = fitted(Linear(dropout=0), **json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
if not rank():
    content = {"weights": flat(model).tolist(), "history": [asdict(epoch) for epoch in history]}
    Path(sys.argv[2]).write_text(json.dumps(content), encoding="utf-8")
