"""How many cores a worker may keep busy: those that the system lets it run on, and the time that a pod grants it."""

import math
import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_LIMITS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
"""Files with quota and period: of control groups version 2, and of version 1."""


def available() -> int:
    """Cores for this process and its siblings together."""
    cores = len(os.sched_getaffinity(0))
    for names in _LIMITS:
        try:
            return min(cores, limit(" ".join((_GROUPS / name).read_text() for name in names)) or cores)
        except (OSError, ValueError):
            continue
    return cores


def limit(text: str) -> int | None:
    """Whole cores of `cpu.max`, which says quota and period in microseconds; `None` where there is no quota.

    Raises:
        ValueError: the text says something else.
    """
    quota, period = text.split()
    return None if quota in {"max", "-1"} else math.ceil(int(quota) / int(period))
