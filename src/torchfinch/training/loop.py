"""The training loop: read `fit` from top to bottom, and then the two passes that it makes in every epoch."""

import math
from collections.abc import Callable
from time import perf_counter

import torch
from torch import Tensor

from torchfinch.console import err, progress
from torchfinch.errors import TorchfinchError
from torchfinch.handler import Preprocessing
from torchfinch.training.augmentation import augment_of, mix_of
from torchfinch.training.chance import libraries_kept, seed_libraries
from torchfinch.training.checkpoint import Checkpoints
from torchfinch.training.checks import check_outputs, images_to_fit
from torchfinch.training.data import Data, Images
from torchfinch.training.history import Epoch, Tally
from torchfinch.training.losses import criterion, doubts, penalty
from torchfinch.training.runtime import Runtime, rank, running
from torchfinch.training.settings import FitSettings
from torchfinch.training.state import State


def say(epoch: Epoch) -> None:
    """Leave a line on stderr, above the bar on a terminal; of processes that train together, the first one does."""
    if not rank():
        err.print(str(epoch), markup=False)


def fit(
    model: torch.nn.Module,
    data: Data,
    *,
    preprocessing: Preprocessing,
    settings: FitSettings,
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
    told: Callable[[Epoch], object] = say,
) -> list[Epoch]:
    """Fit `model` to `data`, as `settings` say, and return what was written down of every epoch.

    On one machine the same first weights and the same seed give the same last weights, also with a `resume` from
    `checkpoints` in between: bit for bit on a CPU with as many threads; on a GPU images, order and chance are the same,
    and sums are rounded as they come. An augmentation may draw from NumPy's and Python's chance, too, which go on
    afterwards where they were.

    The model is left in evaluation mode, on the settings' device, with the weights that `settings.keep` names. `told`
    hears of every epoch that ends, when the model has the weights that were validated, and ends the training if it
    raises. On a terminal a bar shows the way.

    Raises:
        TorchfinchError: there is nothing to fit to or to resume, no such device, the network's outputs are not one for
            each label, or the loss is no longer a number.
    """
    train, validation = images_to_fit(data, settings)
    with running(settings) as runtime, libraries_kept(), progress(hidden=rank() > 0) as bar:
        state = State(model, settings=settings, runtime=runtime, images=len(train))
        passes = _Passes(data, preprocessing, runtime)
        if checkpoints and resume:
            state.load_state_dict(checkpoints.load(epochs=settings.epochs))
        done, batches = len(state.history), state.batches
        task = bar.add_task("training", total=settings.epochs * batches, completed=done * batches)
        for number in range(done + 1, settings.epochs + 1):
            if state.stale:
                _tell_end(state)
                break
            seed_libraries(settings.seed, runtime.rank, number)
            start = perf_counter()
            order = runtime.same(_order(train, state))
            learnt, rate, waited = passes.learn(state, number, order.tensor_split(batches), lambda: bar.advance(task))
            learning_seconds = perf_counter() - start
            checked = passes.check(state, validation)
            epoch = Epoch(
                epoch=number,
                train_loss=learnt.loss,
                validation_loss=checked.loss,
                train_accuracy=learnt.accuracy,
                validation_accuracy=checked.accuracy,
                class_accuracy=checked.class_accuracy,
                learning_rate=rate,
                seconds=perf_counter() - start,
                data_seconds=waited,
                images_per_second=len(order) / learning_seconds,
            )
            state.end(epoch)
            saved = state.state_dict() if checkpoints else {}
            if checkpoints and runtime.rank == 0:
                checkpoints.save(saved, epoch=number)
            with state.as_judged():
                told(epoch)
        state.finish()
    return state.history


class _Passes:
    """The pass over the training images, and the one over the validation images."""

    def __init__(self, data: Data, preprocessing: Preprocessing, runtime: Runtime) -> None:
        assert data.train is not None
        settings = runtime.settings
        self.train, self.runtime, self.settings = data.train, runtime, settings
        self.labels = len(data.labels)
        self.classes = self.labels if data.train.classified else None
        self.normalise = preprocessing.normalise
        self.criterion = criterion(settings.loss, data, runtime.device)
        self.augment = augment_of(settings.augmentation, data)
        self.mix = mix_of(settings.augmentation, classes=self.labels) if self.classes else None

    def learn(
        self, state: State, epoch: int, batches: tuple[Tensor, ...], advance: Callable[[], object]
    ) -> tuple[Tally, float, float]:
        """The images of the epoch; returns the sums, the last learning rate, and the seconds spent on the data."""
        state.train(epoch)
        tally, rate, waited = Tally(self.classes), 0.0, 0.0
        accumulate, doubt = self.settings.optimizer.accumulate, torch.zeros_like(state.doubt)
        for number, index in enumerate(batches, start=1):
            start = perf_counter()
            mine = self.runtime.share(index)
            pixels, targets = self.batch(mine, state.chance)
            waited += perf_counter() - start
            with self.runtime.autocast():
                scores = self.scores(state.network, pixels)
                loss = self.criterion(scores, targets)
            value = loss.item()
            if not math.isfinite(value):
                place = _batch(number, len(batches), images=mine)
                raise _lost(value, self.settings, epoch=epoch, place=place)
            grouped = min(accumulate, len(batches) - (number - 1) // accumulate * accumulate)
            share = len(mine) * self.runtime.world / len(index)  # processes are averaged, whatever they hold
            state.scaler.scale((loss * share + penalty(state.model, self.settings.loss)) / grouped).backward()
            if number % accumulate == 0 or number == len(batches):
                rate = state.step()
            tally.add(value, scores, targets)
            if self.settings.sampling == "doubtful":
                doubt[mine] = doubts(scores.detach(), targets).cpu()
            advance()
        tally.sums = self.runtime.total(tally.sums)
        if self.settings.sampling == "doubtful":
            doubt = self.runtime.total(doubt)
            state.doubt = torch.where(doubt > 0, doubt, state.doubt)
        return tally, rate, waited

    def check(self, state: State, images: Images) -> Tally:
        """Every validation image once, in evaluation mode."""
        model, tally, place = state.judged.eval(), Tally(self.classes), ""
        self.runtime.same_buffers(model)  # DDP does so before a training batch alone, and not for the moving average
        mine = self.runtime.share(torch.arange(len(images)))
        with torch.inference_mode(), self.runtime.autocast():
            batches = mine.split(4 * self.settings.batch_size) if len(mine) else ()
            for number, index in enumerate(batches, start=1):
                pixels, targets = images.pixels[index], images.targets[index].to(self.runtime.device)
                scores = self.scores(model, self.normalise(self.runtime.place(pixels)))
                value = self.criterion(scores, targets).item()
                if not math.isfinite(value):
                    place = place or f"validation {_batch(number, len(batches), images=index)}"
                tally.add(value, scores, targets)
        tally.sums = self.runtime.total(tally.sums)
        if not math.isfinite(tally.loss):  # in all processes, so that none waits for another
            place = place or "a validation batch of another process"
            raise _lost(tally.loss, self.settings, epoch=len(state.history) + 1, place=place)
        return tally

    def scores(self, model: torch.nn.Module, pixels: Tensor) -> Tensor:
        """What a network says of normalised pixels: float32 (N, K)."""
        scores: Tensor = model(pixels)
        check_outputs(scores, images=len(pixels), labels=self.labels)
        return scores.float()

    def batch(self, index: Tensor, chance: torch.Generator) -> tuple[Tensor, Tensor]:
        """Normalised pixels and targets of some training images on the device, augmented and mixed."""
        pixels, targets = self.train.pixels[index], self.train.targets[index].to(self.runtime.device)
        pixels = self.augment(pixels, chance) if self.augment else pixels
        pixels = self.normalise(self.runtime.place(pixels))
        return self.mix(pixels, targets) if self.mix else (pixels, targets)


def _order(train: Images, state: State) -> Tensor:
    """The numbers of an epoch's images: of all alike, of each class as many, or rather of those in doubt."""
    sampling, chance = state.settings.sampling, state.chance
    if sampling == "shuffled":
        return torch.randperm(len(train), generator=chance)[: state.images]
    if sampling == "doubtful":
        drawn = torch.multinomial(state.doubt, state.images, generator=chance)  # the greatest doubt first
        return drawn[torch.randperm(len(drawn), generator=chance)]
    weights = 1 / torch.bincount(train.targets).double()
    return torch.multinomial(weights[train.targets], state.images, replacement=True, generator=chance)


def _tell_end(state: State) -> None:
    if state.runtime.rank == 0:
        most, done = state.settings.patience, len(state.history)
        err.print(f"ends after epoch {done}: none of the last {most} was better than the best before", markup=False)


def _batch(number: int, of: int, *, images: Tensor) -> str:
    return f"batch {number} of {of} (images {', '.join(map(str, images[:5].tolist()))}, ...)"


def _lost(value: float, settings: FitSettings, *, epoch: int, place: str) -> TorchfinchError:
    return TorchfinchError(
        f"the loss became {value} in epoch {epoch}, {place}",
        f"look at these images, or try a lower learning rate: --set learning_rate={settings.learning_rate / 10:g}",
    )
