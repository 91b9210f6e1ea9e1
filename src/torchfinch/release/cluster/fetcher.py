"""Asks servers of measurements, so that one that hangs, drips or has no end keeps no worker from other releases."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from torchfinch.errors import TorchfinchError
from torchfinch.release.external import parts

_SECONDS = 5.0
"""For all that one look asks of measurements."""
_SIDE_BY_SIDE = 8
_LONGEST_PAGE = 16 * 1024 * 1024
_REST = 10.0
_AT_ONCE = 2
"""Requests that one server gets at a time, so that one that hangs leaves most of the workers to other releases."""
_PATIENCE = 1.0
_HUNG_AT_ONCE = 4
"""Requests at a time to servers that hung when they were asked last: half of the workers that there are by default."""
_BREATH = 0.2


@dataclass
class _Server:
    """How a server of measurements has behaved."""

    turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_AT_ONCE))
    slow: bool = False
    """Whether somebody has waited for a turn in vain since it last answered."""
    rests_until: float = 0.0
    hung: bool = False
    """Whether its last answer did not come in time."""


class Fetcher:
    """GET with a deadline. Servers that hang take few of the workers, and are then left alone for a while."""

    def __init__(self) -> None:
        self._client = httpx.Client(follow_redirects=False, trust_env=False)
        self._servers: dict[str, _Server] = {}
        self._hung = threading.Semaphore(_HUNG_AT_ONCE)

    def get(self, url: str, params: Mapping[str, str] | None = None, *, until: float | None = None) -> str:
        """The text of an answer of status 200 that has come in whole in time: by the monotonic clock's `until`.

        Raises `TorchfinchError` for any other answer and for none.
        """
        until = deadline() if until is None else until
        try:
            server = self._servers.setdefault(str(httpx.URL(url).netloc), _Server())
        except httpx.InvalidURL as error:
            raise TorchfinchError(f"{url} is no address: {error}") from error
        with _turn(server, url, until), self._again(server, url):
            try:
                status, text = self._read(url, params, until)
            except httpx.TimeoutException as error:
                server.rests_until, server.hung = time.monotonic() + _REST, True
                raise TorchfinchError(f"{url} did not answer within {_SECONDS:g} s") from error
            except httpx.HTTPError as error:
                raise TorchfinchError(f"{url}: {error}") from error
            server.slow = server.hung = False
        if status != 200:
            raise TorchfinchError(f"{url} answered with status {status}: {text[:200]}")
        return text

    def get_all(self, urls: Iterable[str], *, until: float) -> list[str]:
        """The texts of several answers, asked for side by side; all of them in time, or `TorchfinchError`."""
        urls = list(urls)
        pool = ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="metrics")
        try:
            asked = [pool.submit(self.get, url, until=until) for url in urls]
            return [each.result(max(until - time.monotonic(), 0)) for each in asked]
        except TimeoutError as error:
            raise TorchfinchError(f"{len(urls)} pods did not all answer within {_SECONDS:g} s") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def _again(self, server: _Server, url: str) -> Iterator[None]:
        """Many releases may have servers of their own that hang: few of those are asked again at a time."""
        if not server.hung:
            yield
            return
        if not self._hung.acquire(timeout=_BREATH):  # those that answer again are all asked within one look
            raise TorchfinchError(f"{url} did not answer when it was last asked, and others are asked again first")
        try:
            yield
        finally:
            self._hung.release()

    def _read(self, url: str, params: Mapping[str, str] | None, until: float) -> tuple[int, str]:
        left = max(until - time.monotonic(), 0.001)
        with self._client.stream("GET", url, params=params, timeout=left) as answer:
            content = b"".join(parts(answer, until, most=_LONGEST_PAGE))
            return answer.status_code, content.decode(errors="replace")


def deadline() -> float:
    """When one look at measurements that begins now has ended, by the monotonic clock."""
    return time.monotonic() + _SECONDS


@contextmanager
def _turn(server: _Server, url: str, until: float) -> Iterator[None]:
    """One of the few requests that a server gets at once; where others have waited in vain already, nobody waits."""
    patience = 0 if server.slow else min(_PATIENCE, max(until - time.monotonic(), 0))
    if not server.turns.acquire(timeout=patience):
        server.slow = True
        raise TorchfinchError(f"{url} is slow: {_AT_ONCE} requests wait for its answer")
    try:
        if server.rests_until > time.monotonic():
            raise TorchfinchError(f"{url} did not answer a moment ago")
        yield
    finally:
        server.turns.release()
