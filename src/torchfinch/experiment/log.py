"""Events as JSON lines in a folder, appended by any number of threads and processes of one machine.

A line is in the file when the call returns, and survives a kill of the process; it is not forced to the disk, so that
a power cut may take the last seconds. A full file is put aside with a number.
"""

import fcntl
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from torchfinch.experiment.assignment import Variant
from torchfinch.experiment.events import Event, make_event
from torchfinch.experiment.spec import Experiment

LIVE = "events.jsonl"
LOCK = ".lock"
_ASIDE = re.compile(r"events-(\d{6})\.(?:jsonl|parquet)")
_REMEMBERED = 100_000
"""Users whose exposure is remembered; beyond, some are logged twice, which the analysis takes as once."""
_AGAIN = 600.0
"""Seconds after which it is logged anew: one from before the start of the experiment does not count."""


class EventLog:
    """Writes what happens in experiments into one folder of this machine."""

    def __init__(self, folder: Path, *, max_bytes: int = 64 * 2**20, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._clock = clock
        self._exposed: dict[tuple[str, str, float], float] = {}

    def expose(self, experiment: Experiment, user: str) -> Variant:
        """The user's variant; logged before anything is done with it, so that failures count too.

        A user who keeps coming is logged once in ten minutes by each process.
        """
        variant, now = experiment.variant(user), self._clock()
        key = (experiment.name, user, experiment.share)
        if not 0 <= now - self._exposed.get(key, -math.inf) < _AGAIN:
            self._write(
                time=now,
                event="exposure",
                experiment=experiment.name,
                user=user,
                variant=variant,
                share=experiment.share,
            )
            if len(self._exposed) >= _REMEMBERED:
                self._exposed.clear()
            self._exposed[key] = now
        return variant

    def request(
        self, experiment: str, request: str, *, user: str, variant: Variant, seconds: float, failed: bool
    ) -> None:
        """A request was answered, or failed, after so many seconds."""
        self._write(
            event="request",
            experiment=experiment,
            request=request,
            user=user,
            variant=variant,
            seconds=seconds,
            failed=failed,
        )

    def outcome(
        self,
        experiment: str,
        metric: str,
        value: float,
        *,
        user: str | None = None,
        request: str | None = None,
        time: float | None = None,
    ) -> None:
        """Something came of it: for a user as often as it happens, for a request once.

        `time` is when it happened, in seconds since 1970, where that was not now.

        Raises:
            TorchfinchError: neither or both of user and request are named, or the value is no number.
        """
        self._write(
            time=time, event="outcome", experiment=experiment, metric=metric, value=value, user=user, request=request
        )

    def put_aside(self) -> None:
        """Give the file being written a number and begin a new one; does nothing where it is empty."""
        with locked(self.folder):
            _put_aside(self.folder)

    def _write(self, *, time: float | None = None, **fields: object) -> None:
        self._append(make_event(time=self._clock() if time is None else time, **fields))

    def _append(self, event: Event) -> None:
        line = event.model_dump_json(exclude_none=True).encode() + b"\n"
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder):
            with (self.folder / LIVE).open("ab+") as stream:
                stream.write(line if _at_line_start(stream) else b"\n" + line)
                full = stream.tell() >= self._max_bytes
            if full:
                _put_aside(self.folder)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one who writes or puts files aside in this folder; freed however the holder ends."""
    with (folder / LOCK).open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _put_aside(folder: Path) -> None:
    live = folder / LIVE
    if live.exists() and live.stat().st_size:
        numbers = [int(match[1]) for path in folder.iterdir() if (match := _ASIDE.fullmatch(path.name))]
        live.rename(folder / f"events-{max(numbers, default=0) + 1:06}.jsonl")


def _at_line_start(stream: BinaryIO) -> bool:
    """Whether the file ends with a whole line; a kill may have left a half one."""
    if stream.seek(0, os.SEEK_END) == 0:
        return True
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) == b"\n"
