"""What is done for others after a decision, and never in its way: in order, with retries, in a thread of its own."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from torchfinch.errors import TorchfinchError

_PAUSES = (1.0, 5.0, 25.0)
"""Seconds between the tries of one errand."""
_MOST = 100
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Errand:
    what: str
    run: Callable[[], object]


class Errands:
    """A queue that a thread works off while there is something in it."""

    def __init__(self, pauses: tuple[float, ...] = _PAUSES) -> None:
        self._pauses = pauses
        self._waiting: deque[_Errand] = deque()
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None

    def put(self, what: str, run: Callable[[], object]) -> None:
        """Have `run` called soon; where it goes on raising `TorchfinchError`, `what` was not done is logged."""
        with self._lock:
            if len(self._waiting) == _MOST:
                _log.warning("%s: dropped, for too much is waiting", self._waiting.popleft().what)
            self._waiting.append(_Errand(what, run))
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="errands", daemon=True)
                self._worker.start()

    def finish(self, seconds: float) -> None:
        """Wait until all is done, so long at most."""
        worker = self._worker
        if worker:
            worker.join(seconds)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._worker = None
                    return
                errand = self._waiting.popleft()
            self._do(errand)

    def _do(self, errand: _Errand) -> None:
        for pause in (*self._pauses, None):
            try:
                errand.run()
            except TorchfinchError as error:
                if pause is None:
                    _log.warning("%s: dropped: %s", errand.what, error.message)
                else:
                    time.sleep(pause)
            except Exception:  # noqa: BLE001  whatever a registry raises, what waits behind it is done
                _log.exception("%s: dropped", errand.what)
                return
            else:
                return
