"""The training loop: one function, read from top to bottom."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from torchfinch.console import err, progress
from torchfinch.errors import TorchfinchError
from torchfinch.handler import Preprocessing
from torchfinch.training.data import Data
from torchfinch.training.settings import FitSettings


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images and one over the validation images; means are over images."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    """Mean cross-entropy, in training mode, on augmented images, while the weights change."""
    validation_loss: float
    """Mean cross-entropy after the pass."""
    train_accuracy: float
    """Share of right answers on the way, as `train_loss`."""
    validation_accuracy: float
    """Share of right answers after the pass."""
    learning_rate: float
    """Of the last step."""
    seconds: float
    """Both passes together."""
    images_per_second: float
    """Training images per second of the training pass."""

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch:3d}  train loss {self.train_loss:.4f}  validation loss {self.validation_loss:.4f}  "
            f"accuracy {self.validation_accuracy:.2%}  {self.images_per_second:,.0f} images/s"
        )


def fit(
    model: nn.Module,
    data: Data,
    *,
    preprocessing: Preprocessing,
    settings: FitSettings,
) -> list[Epoch]:
    """Fit `model` to `data` by AdamW, the learning rate rising in the warm-up and then falling as a cosine.

    On one machine the same first weights and the same seed give the same last weights. The model is left in
    evaluation mode, on the settings' device, with the weights that `settings.keep` names. On a terminal a bar shows
    the way; elsewhere each epoch is a line on stderr.

    Raises:
        TorchfinchError: there are no images to fit to, no such device, or the loss is no longer a number.
    """
    if data.train is None or data.validation is None:
        raise TorchfinchError(
            "the recipe gives no images to fit to", "return Data(train=..., validation=...) in build()"
        )
    train, validation, device = data.train, data.validation, _device(settings.device)
    model.to(device)
    torch.manual_seed(settings.seed)  # for dropout
    chance = torch.Generator().manual_seed(settings.seed)  # on the CPU: the same order on every device
    batches = math.ceil(len(train) / settings.batch_size)
    steps = settings.epochs * batches
    optimizer = AdamW(_groups(model, settings.weight_decay))
    schedule = OneCycleLR(optimizer, settings.learning_rate, total_steps=steps, pct_start=settings.warm_up)
    history: list[Epoch] = []
    best, kept = math.inf, {}

    with _threads(settings.threads), progress() as bar:
        task = bar.add_task("training", total=steps, note="")
        for number in range(1, settings.epochs + 1):
            start = perf_counter()

            model.train()
            learnt = _Tally()
            for index in torch.randperm(len(train), generator=chance).tensor_split(batches):
                pixels, targets = train.pixels[index], train.targets[index].to(device)
                if data.augment:
                    pixels = data.augment(pixels, chance)
                scores = model(preprocessing.normalise(pixels.to(device)))  # (N, classes)
                loss = functional.cross_entropy(scores, targets)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                learnt.add(loss, scores, targets)
                rate = schedule.get_last_lr()[0]
                schedule.step()
                bar.advance(task)
            learning_seconds = perf_counter() - start

            model.eval()
            checked = _Tally()
            with torch.inference_mode():
                for index in torch.arange(len(validation)).split(4 * settings.batch_size):
                    pixels, targets = validation.pixels[index].to(device), validation.targets[index].to(device)
                    scores = model(preprocessing.normalise(pixels))
                    checked.add(functional.cross_entropy(scores, targets), scores, targets)

            epoch = Epoch(
                epoch=number,
                train_loss=learnt.loss,
                validation_loss=checked.loss,
                train_accuracy=learnt.accuracy,
                validation_accuracy=checked.accuracy,
                learning_rate=float(rate),
                seconds=perf_counter() - start,
                images_per_second=len(train) / learning_seconds,
            )
            if not math.isfinite(epoch.train_loss + epoch.validation_loss):
                raise TorchfinchError(
                    f"the loss became {epoch.train_loss} in epoch {number}",
                    f"try a lower learning rate: --set learning_rate={settings.learning_rate / 10:g}",
                )
            if settings.keep == "final" or epoch.validation_loss < best:
                best = epoch.validation_loss
                kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            history.append(epoch)
            bar.update(task, note=f"epoch {number}, validation accuracy {epoch.validation_accuracy:.1%}")
            if not err.is_terminal:
                err.print(str(epoch))

    model.load_state_dict(kept)
    return history


class _Tally:
    """Sums over the images of one pass, so that a short batch counts for as much as it holds."""

    def __init__(self) -> None:
        self._loss, self._right, self._images = 0.0, 0, 0

    def add(self, loss: Tensor, scores: Tensor, targets: Tensor) -> None:
        """Count a batch: its mean loss, its scores (N, C) and its classes (N,)."""
        self._loss += loss.item() * len(targets)
        self._right += int((scores.argmax(dim=1) == targets).sum())
        self._images += len(targets)

    @property
    def loss(self) -> float:
        """Mean over the images."""
        return self._loss / self._images

    @property
    def accuracy(self) -> float:
        """Share of images whose highest score is their class's."""
        return self._right / self._images


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device(name: str) -> torch.device:
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise TorchfinchError(f"device={name}: torch sees no GPU", "--set device=cpu")
    return torch.device(name)


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    # Decaying biases and normalisation scales only costs accuracy (torchvision's --norm-weight-decay 0).
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
