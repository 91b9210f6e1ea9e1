"""Processes by identity: a process id and its start time, since ids are used again."""

import contextlib
import subprocess

import psutil


class Detached(subprocess.Popen[bytes]):
    """A child that is meant to outlive its parent, so leaving it is nothing to warn of."""

    def __del__(self) -> None:
        pass


def started_at(pid: int) -> float:
    """When the process began, seconds since 1970."""
    return float(psutil.Process(pid).create_time())


def is_same(pid: int, started: float) -> bool:
    """Whether the process that began at `started` still runs."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) < 1
    except psutil.Error:
        return False


def end(pid: int, started: float, *, timeout: float) -> None:
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
