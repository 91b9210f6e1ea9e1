"""Which release is looked at next. A release is never with two workers at once."""

import heapq
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torchfinch.release.cluster.cache import Key


@dataclass(order=True)
class _Due:
    at: float
    key: Key = field(compare=False)


class Queue:
    """Keys with a time at which they are due; a key is never with two workers at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heap: list[_Due] = []
        self._due: dict[Key, float] = {}
        self._busy: set[Key] = set()
        self._late: dict[Key, float] = {}
        self._changed = threading.Condition()

    def put(self, key: Key, delay: float) -> None:
        """Have `key` looked at after `delay` seconds, or sooner if it is due sooner."""
        with self._changed:
            self._put(key, self._clock() + delay)

    def take(self) -> Key:
        """Wait for the next key that is due."""
        with self._changed:
            while True:
                for due in self._ripe():
                    return due.key
                rest = self._heap[0].at - self._clock() if self._heap else None
                self._changed.wait(rest)

    def done(self, key: Key) -> None:
        """The worker has finished with `key`; what was put meanwhile becomes due."""
        with self._changed:
            self._busy.discard(key)
            if key in self._late:
                self._put(key, self._late.pop(key))

    def _put(self, key: Key, at: float) -> None:
        if key in self._busy:
            self._late[key] = min(at, self._late.get(key, at))
        elif key not in self._due or at < self._due[key]:
            self._due[key] = at
            heapq.heappush(self._heap, _Due(at, key))
            self._changed.notify()

    def _ripe(self) -> Iterator[_Due]:
        while self._heap and self._heap[0].at <= self._clock():
            due = heapq.heappop(self._heap)
            if self._due.get(due.key) == due.at:  # otherwise it was put again for an earlier time
                del self._due[due.key]
                self._busy.add(due.key)
                yield due
