"""Checkpoints of an unfinished training: the last two epochs, each file whole, and loaded without running code."""

import fcntl
import io
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchfinch.console import err
from torchfinch.errors import TorchfinchError
from torchfinch.files import checkpoint_files, write_whole
from torchfinch.training.runtime import rank

_FORMAT = "torchfinch checkpoint 2"
_FREE = {"config.learning_rate", "config.epochs"}
"""Parts of an identity that may be others when a training goes on."""


class Checkpoints:
    """The checkpoints in a folder, of one training: `identity` says of which, as plain values."""

    def __init__(self, folder: Path, *, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self.identity = dict(identity)
        self.used = False
        """Whether this training has written one, or gone on from one."""

    def save(self, state: Mapping[str, Any], *, epoch: int) -> None:
        """Write the state after `epoch`; of those before it, only the last one stays, and none of another training.

        Raises:
            OSError: there is no room or no permission; what was there is unharmed.
        """
        stream = io.BytesIO()
        torch.save({"format": _FORMAT, "identity": self.identity, "state": state}, stream)
        others, written = [] if self.used else checkpoint_files(self.folder), self.folder / f"epoch-{epoch:05d}.pt"
        write_whole(written, stream.getvalue())
        self.used = True
        for path in {*others, *checkpoint_files(self.folder)[2:]} - {written}:
            path.unlink()

    def load(self, *, epochs: int | None = None) -> Mapping[str, Any]:
        """The newest state that can be read; a learning rate or a number of epochs that is another now is told.

        Raises:
            TorchfinchError: there is none, it is of another training, or more than `epochs` are done.
        """
        for path in checkpoint_files(self.folder):
            try:
                content = read_checkpoint(path)
            except TorchfinchError as error:
                if not rank():
                    err.print(f"left aside: {error.message}", markup=False, soft_wrap=True)
                continue
            return self._checked(content, path, epochs=epochs)
        raise TorchfinchError(f"there is no checkpoint to go on from in {self.folder}", "train without --resume")

    @contextmanager
    def told(self) -> Iterator[None]:
        """Say what a training that does not end in the block leaves, and how it can go on."""
        try:
            yield
        except BaseException as error:
            said = "" if rank() else self._left(refused=isinstance(error, TorchfinchError))
            if said:
                err.print(said, markup=False, soft_wrap=True)
            raise

    def _left(self, *, refused: bool) -> str:
        if not self.used:
            return "" if refused else "nothing of this training is kept: no epoch had ended"
        kept = next(filter(_readable, checkpoint_files(self.folder)), None)
        if not kept:
            return f"nothing of this training is kept: {self.folder} has no checkpoint that can be read"
        on = "--resume goes on from there, also with another learning rate"
        on = on if refused else "the same command with --resume goes on from there"
        return f"{kept} is kept; {on}"

    def _checked(self, content: Mapping[str, Any], path: Path, *, epochs: int | None) -> Mapping[str, Any]:
        found = _differences(content["identity"], self.identity)
        refused = [text for name, text in found.items() if name not in _FREE]
        if refused:
            raise TorchfinchError(
                f"{path} is of another training: {'; '.join(refused[:3])}",
                "repeat the command that was interrupted, or train without --resume",
            )
        state: Mapping[str, Any] = content["state"]
        done = len(state.get("history", ()))
        if epochs is not None and done > epochs:
            raise TorchfinchError(
                f"{done} epochs are done already, and epochs={epochs}", f"--set epochs={done}, or more"
            )
        if found and not rank():
            err.print(f"going on from {path}: {'; '.join(found.values())}", markup=False, soft_wrap=True)
        self.used = True
        return state


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """What a checkpoint holds: `identity`, which says of which training it is, and `state`; runs no code of it.

    Raises:
        TorchfinchError: it cannot be read, or is none of torchfinch.
    """
    try:
        content: Mapping[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # foreign bytes make an unpickler raise anything
        raise _unread(path, f"it cannot be read ({type(error).__name__})") from error
    fault = _fault(content)
    if fault:
        raise _unread(path, fault)
    return content


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other trainings out of a folder of checkpoints while the block runs; a folder that is left empty goes.

    Raises:
        TorchfinchError: another training has it.
    """
    opened = _lock(folder)
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()  # while it is locked: afterwards it may be another training's
        os.close(opened)


def save_whole_model(model: nn.Module, path: Path) -> None:
    """Pickle a whole model, and warn: `weights.safetensors` with `model.py` is what a run folder has instead.

    Loading a pickle runs whatever code is in it (`weights_only=False`), and fails once the class has moved.
    """
    warnings.warn(
        "a pickled model runs code when it is loaded, and breaks when its class moves; keep the state dict instead",
        stacklevel=2,
    )
    stream = io.BytesIO()
    torch.save(model, stream)
    write_whole(path, stream.getvalue())


def _lock(folder: Path) -> int:
    """The folder, made if need be, opened and locked."""
    folder.mkdir(parents=True, exist_ok=True)
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(opened), folder.stat()):
                return opened
    except BlockingIOError as error:
        os.close(opened)
        raise TorchfinchError(f"another training keeps its checkpoints in {folder}", "choose another --runs") from error
    os.close(opened)
    return _lock(folder)  # a training that ended just now removed what was opened


def _unread(path: Path, why: str) -> TorchfinchError:
    return TorchfinchError(f"{path} is torn or foreign: {why}", "move it away")


def _fault(content: object) -> str:
    if not isinstance(content, dict) or repr(content.get("format")) != repr(_FORMAT):
        return "it is no checkpoint of torchfinch"
    lacking = [part for part in ("identity", "state") if not isinstance(content.get(part), dict)]
    return f"it has no {lacking[0]}" if lacking else ""


def _readable(path: Path) -> bool:
    with suppress(TorchfinchError):
        return bool(read_checkpoint(path))
    return False


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """By dotted name, what was and what is."""
    found: dict[str, str] = {}
    for key in {**old, **new}:
        before, now, name = old.get(key), new.get(key), f"{prefix}{key}"
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            found |= _differences(before, now, f"{name}.")
        elif before != now:
            found[name] = f"{name} was {before} and is {now}"
    return found
