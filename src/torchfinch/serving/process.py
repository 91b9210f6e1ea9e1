"""Processes by identity: a process id and its start, since ids are used again."""

import contextlib
import subprocess
from pathlib import Path

import psutil


class Detached(subprocess.Popen[bytes]):
    """A child that is meant to outlive its parent, so leaving it is nothing to warn of."""

    def __del__(self) -> None:
        pass


def started_at(pid: int) -> int:
    """When the process began, clock ticks since the machine did: a time of day would move when the clock is set."""
    return int(_status(pid)[19])


def is_same(pid: int, started: int) -> bool:
    """Whether the process that began at `started` still runs."""
    try:
        return _status(pid)[0] != "Z" and started_at(pid) == started
    except OSError:
        return False


def _status(pid: int) -> list[str]:
    """The fields of `/proc/PID/stat` behind the program's name, which may hold spaces (proc_pid_stat(5))."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


def end(pid: int, started: int, *, timeout: float) -> None:
    """Ask a process to end, wait up to `timeout` seconds, and kill what is left of it and of its children."""
    if not is_same(pid, started):
        return
    family = [psutil.Process(pid)]
    with contextlib.suppress(psutil.Error):
        family += family[0].children(recursive=True)
    with contextlib.suppress(psutil.Error):
        family[0].terminate()
    psutil.wait_procs(family[:1], timeout=timeout)
    _, left = psutil.wait_procs(family, timeout=2)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=5)
