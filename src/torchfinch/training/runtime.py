"""Where a training runs: the device, the precision, the memory format, and how many processes share it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from torchfinch.errors import TorchfinchError
from torchfinch.training.settings import FitSettings

T = TypeVar("T")
_PRECISIONS = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Runtime:
    """One of the processes that train together, usually the only one."""

    settings: FitSettings
    device: torch.device
    rank: int
    """Number of this process; 0 is the one that writes and speaks."""
    world: int
    """Processes that train together."""

    def wrap(self, model: nn.Module) -> nn.Module:
        """Move `model` to the device, and return what learns in its place: itself, compiled, or one of several."""
        model.to(self.device)
        if self.settings.channels_last:
            model.to(memory_format=torch.channels_last)
        if self.world > 1:
            model = DistributedDataParallel(model, find_unused_parameters=self.settings.frozen.epochs > 0)
        return cast(nn.Module, torch.compile(model)) if self.settings.compile else model

    def place(self, pixels: Tensor) -> Tensor:
        """Pixels (N, C, H, W) on the device, in its memory format."""
        pixels = pixels.to(self.device, non_blocking=True)
        return pixels.contiguous(memory_format=torch.channels_last) if self.settings.channels_last else pixels

    def autocast(self) -> torch.autocast:
        """Mixed precision for what is computed in the block, where it is asked for."""
        precision = _PRECISIONS[self.settings.amp]
        return torch.autocast(self.device.type, dtype=precision, enabled=precision is not None)

    def scaler(self) -> torch.amp.GradScaler:
        """Keeps small gradients of fp16 from becoming 0; does nothing otherwise."""
        return torch.amp.GradScaler(self.device.type, enabled=self.settings.amp == "fp16")

    def share(self, index: Tensor) -> Tensor:
        """The part of `index` that is this process's."""
        return index[self.rank :: self.world]

    def same(self, values: Tensor) -> Tensor:
        """The values of process 0, in every process."""
        if self.world == 1:
            return values
        values = values.to(self.device)
        distributed.broadcast(values, src=0)
        return values.cpu()

    @torch.no_grad()
    def same_buffers(self, model: nn.Module) -> None:
        """Running statistics and other buffers of process 0, in every process."""
        for buffer in model.buffers() if self.world > 1 else ():
            buffer.copy_(self.same(buffer.contiguous()))

    def total(self, values: Tensor) -> Tensor:
        """The sum of the values over all processes."""
        if self.world == 1:
            return values
        values = values.to(self.device)
        distributed.all_reduce(values)
        return values.cpu()

    def gathered(self, value: T) -> list[T]:
        """The value of every process."""
        if self.world == 1:
            return [value]
        values: list[T | None] = [None] * self.world
        distributed.all_gather_object(values, value)
        return cast(list[T], values)


def rank() -> int:
    """The number of this process among those that torchrun started; 0 without it."""
    return _number("RANK")


@contextmanager
def running(settings: FitSettings) -> Iterator[Runtime]:
    """Take the device and the threads that `settings` names, and join the other processes of a torchrun.

    Raises:
        TorchfinchError: there is no such device, or none for each process.
    """
    world, threads = _number("WORLD_SIZE", 1), torch.get_num_threads()
    device = own_device(settings.device, local_rank=_number("LOCAL_RANK"), world=world, gpus=torch.cuda.device_count())
    with torch.cuda.device(device.index if device.type == "cuda" else -1):  # NCCL gathers objects on the current one
        if world > 1:
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        torch.set_num_threads(settings.threads or threads)
        try:
            yield Runtime(settings, device, rank(), world)
        finally:
            torch.set_num_threads(threads)
            if world > 1:
                distributed.destroy_process_group()


def own_device(name: str, *, local_rank: int, world: int, gpus: int) -> torch.device:
    """The device of one of `world` processes, the `local_rank`-th on a machine with `gpus` GPUs.

    Raises:
        TorchfinchError: there is no such device, or processes would have to share a GPU.
    """
    if name == "cpu":
        return torch.device("cpu")
    if name != "cuda" and world > 1:
        raise TorchfinchError(f"device={name} is one GPU, and there are {world} processes", "--set device=cuda")
    number = local_rank if name == "cuda" else int(name.removeprefix("cuda:"))
    if not gpus:
        raise TorchfinchError(f"device={name}: torch sees no GPU", "--set device=cpu")
    if number >= gpus:
        way_out = f"torchrun --nproc-per-node {gpus}, or fewer" if world > 1 else f"cuda:0 to cuda:{gpus - 1}"
        raise TorchfinchError(f"device={name}: there is no GPU {number}, torch sees {gpus}", way_out)
    return torch.device("cuda", number)


def _number(name: str, default: int = 0) -> int:
    """What torchrun says in the environment."""
    return int(os.environ.get(name, default))
