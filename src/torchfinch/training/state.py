"""All that changes in a training, so that it can be saved, go on, and end as if it had never stopped."""

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from torchfinch.errors import TorchfinchError
from torchfinch.training.history import Epoch
from torchfinch.training.optimizers import build_optimizer, build_schedule
from torchfinch.training.runtime import Runtime
from torchfinch.training.settings import FitSettings, Frozen


class State:
    """A network under training with its optimizer, its schedule and its chance."""

    def __init__(self, model: nn.Module, *, settings: FitSettings, runtime: Runtime, images: int) -> None:
        self.settings = settings
        self.model = model
        self.network = runtime.wrap(model)
        self.optimizer = build_optimizer(model, settings)
        self.images = max(1, round(settings.share * images))  # of one epoch
        self.batches = math.ceil(self.images / settings.batch_size)
        if self.images // self.batches < runtime.world:
            few = f"{self.images} images in {self.batches} batches leave {runtime.world} processes without work"
            raise TorchfinchError(few, "a larger batch_size, or fewer processes")
        self.steps = math.ceil(self.batches / settings.optimizer.accumulate)  # of one epoch
        self.schedule = build_schedule(self.optimizer, settings, steps_per_epoch=self.steps)
        self.scaler = runtime.scaler()
        self.runtime = runtime
        self.fixed = [each for each in model.parameters() if not each.requires_grad]  # by the recipe, for good
        average = get_ema_multi_avg_fn(settings.ema)
        self.average = AveragedModel(model, multi_avg_fn=average, use_buffers=True) if settings.ema else None
        seed = (settings.seed + runtime.rank) % 2**64  # what torch takes
        torch.manual_seed(seed)  # for dropout
        self.chance = torch.Generator().manual_seed(seed)  # the same order on every device
        self.doubt = torch.ones(images)  # of each image's class, when it was last learnt from
        self.history: list[Epoch] = []
        self.best = math.inf
        self.kept: dict[str, Tensor] = {}

    @property
    def judged(self) -> nn.Module:
        """What is validated and kept: the moving average of the weights where there is one."""
        return self.average.module if self.average else self.model

    @contextmanager
    def as_judged(self) -> Iterator[None]:
        """While the block runs, the model itself is what is judged, in evaluation mode."""
        own = deepcopy(self.model.state_dict()) if self.average else self.model.state_dict()
        self.model.load_state_dict(self.judged.state_dict())
        self.model.eval()
        try:
            yield
        finally:
            self.model.load_state_dict(own)

    def train(self, epoch: int) -> None:
        """Training mode; in the first epochs of a transfer the head alone learns."""
        self.network.train()
        if self.settings.frozen.epochs:
            _freeze(self.model, self.settings.frozen, frozen=epoch <= self.settings.frozen.epochs)
            self._keep_fixed()

    def step(self) -> float:
        """One step from the gradients at hand; returns its learning rate."""
        if self.settings.optimizer.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)  # the limit is meant for true gradients
            clip_grad_norm_(self.model.parameters(), self.settings.optimizer.clip_norm)
        rate = float(self.schedule.get_last_lr()[0])
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        if self.average:
            self.average.update_parameters(self.model)
        return rate

    def end(self, epoch: Epoch) -> None:
        """Write down an epoch, and keep its weights where they are the best so far."""
        self.history.append(epoch)
        if epoch.validation_loss < self.best:
            self.best = epoch.validation_loss
            if self.settings.keep == "best":
                self.kept = {name: tensor.clone() for name, tensor in self.judged.state_dict().items()}

    @property
    def stale(self) -> bool:
        """Whether `settings.patience` epochs have gone by without a better one."""
        since = [epoch.validation_loss for epoch in self.history[::-1]]
        return self.settings.patience is not None and self.best not in since[: self.settings.patience] and bool(since)

    def finish(self) -> None:
        """Leave the model in evaluation mode, with the weights that `settings.keep` names."""
        self.model.load_state_dict(self.kept or self.judged.state_dict())
        self.model.requires_grad_(True).eval()
        self._keep_fixed()

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values alone, so that loading them runs no code; of all processes, which all must ask."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        parts["optimizer"] = self.optimizer.state_dict()
        device = self.runtime.device
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        own = {"torch": torch.get_rng_state(), "cuda": cuda, "images": self.chance.get_state()}
        known = {"history": [asdict(epoch) for epoch in self.history], "doubt": self.doubt}
        return {**parts, **known, "chance": self.runtime.gathered(own), "best": self.best, "kept": self.kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken, at the learning rate that the settings have there."""
        done = len(state["history"])
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        fresh = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**fresh, "state": state["optimizer"]["state"]})
        self._skip(done * self.steps)
        if self.runtime.rank < len(state["chance"]):  # else there are more processes now, and theirs is new
            self._take_chance(state["chance"][self.runtime.rank])
        self.history = [Epoch(**epoch) for epoch in state["history"]]
        self.best, self.kept, self.doubt = state["best"], state["kept"], state["doubt"]

    def _take_chance(self, chance: Mapping[str, Any]) -> None:
        torch.set_rng_state(chance["torch"])
        if chance["cuda"] is not None and self.runtime.device.type == "cuda":
            torch.cuda.set_rng_state(chance["cuda"], self.runtime.device)
        self.chance.set_state(chance["images"])

    def _skip(self, steps: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of rates that change without a step of the optimizer
            for _ in range(steps):
                self.schedule.step()

    def _keep_fixed(self) -> None:
        for parameter in self.fixed:
            parameter.requires_grad_(False)

    def _parts(self) -> dict[str, Any]:
        parts = {"model": self.model, "scaler": self.scaler}
        return {**parts, **({"average": self.average} if self.average else {})}


def _freeze(model: nn.Module, settings: Frozen, *, frozen: bool) -> None:
    names = [name for name, _ in model.named_children()]
    head = settings.head or "".join(names[-1:])
    if head not in names:
        among = f"frozen.head: one of {', '.join(names)}" if names else "frozen.epochs=0"
        raise TorchfinchError(f"{type(model).__name__} has no part {head!r} that could learn alone", among)
    for name, part in model.named_children():
        if name != head:
            part.requires_grad_(not frozen).train(not frozen)  # frozen: batch statistics stay as they are, too
