"""Wait for what comes about in its own time."""

import time
from collections.abc import Callable


def within(seconds: float, done: Callable[[], bool]) -> bool:
    """Wait until `done`, at most `seconds`; whether it came about."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
