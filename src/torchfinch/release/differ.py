"""Sends the same inputs to a server of each version, beside the loop, as `torchfinch diff` sends them to archives."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx

from torchfinch.archive.diff import Answer, Ask, Difference, Pair, Request, ask_in_turn
from torchfinch.errors import TorchfinchError
from torchfinch.release.manifest.options import Diff
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.state import Arm, Compared, Phase, Role, State

_SECONDS = 30.0
"""For one answer."""
_ALL = {"torchfinch-top-k": "all"}

Servers = Callable[[Spec, Role], Sequence[str]]
"""URLs of a version's servers that can answer."""
_Key = tuple[int, str, int]


class Differ:
    """What was found last. A thread of its own sends the inputs, and a look takes what was found meanwhile.

    `inputs` is the folder of what manifests name; None where the controller has none.
    """

    def __init__(self, servers: Servers, inputs: Path | None) -> None:
        self._servers = servers
        self._inputs = inputs
        self._asked: _Key | None = None
        self._found: Compared | None = None
        self._worker: threading.Thread | None = None
        self._lock = threading.Lock()

    def found(self, spec: Spec, state: State, canary: Arm) -> Compared | None:
        """What was found before the first weight that is due; asks again for as long as that tells nothing."""
        if not (spec.diff and _due(state, canary)):
            return None
        key = (state.revision, spec.diff.inputs, spec.diff.port)
        with self._lock:
            if key != self._asked:
                self._asked, self._found, self._worker = key, None, None
            known, idle = self._found, not (self._worker and self._worker.is_alive())
            if idle and (known is None or known.problem):
                self._worker = threading.Thread(target=self._ask, args=(spec, spec.diff, key), name="diff", daemon=True)
                self._worker.start()
        return known

    def _ask(self, spec: Spec, diff: Diff, key: _Key) -> None:
        try:
            requests = self._while_wanted(key, _read(self._inputs, diff))
            stable, canary = self._server(spec, "stable"), self._server(spec, "canary")
            pairs = ask_servers(stable, canary, model=spec.model, requests=requests)
            found = _summary(Difference(tuple(pairs)), key[0])
        except TorchfinchError as error:
            found = Compared(at=time.time(), revision=key[0], problem=error.message)
        with self._lock:
            if key == self._asked:
                self._found = found

    def _server(self, spec: Spec, role: Role) -> str:
        urls = self._servers(spec, role)
        if not urls:
            raise TorchfinchError(f"{role} has no server that can answer")
        return min(urls)

    def _while_wanted(self, key: _Key, requests: Iterator[Request]) -> Iterator[Request]:
        for request in requests:
            if key != self._asked:
                return
            yield request


def _due(state: State, canary: Arm) -> bool:
    """Whether the canary is ready, and has had neither copies nor a weight."""
    first = state.phase is Phase.PROGRESSING and state.weight == 0 and not state.mirror
    return first and canary.digest == state.canary and bool(canary.ready)


def _read(root: Path | None, diff: Diff) -> Iterator[Request]:
    """The files of the folder, without the hidden ones, of which a ConfigMap's has some."""
    if root is None:
        raise TorchfinchError("the controller was started without --inputs")
    folder = root / diff.inputs
    try:
        files = sorted(each for each in folder.iterdir() if each.is_file() and not each.name.startswith("."))
        if not files:
            raise TorchfinchError(f"there is no file in {folder}")
        for each in files:
            yield each.name, each.read_bytes()
    except OSError as error:
        raise TorchfinchError(f"inputs cannot be read: {error}") from error


def ask_servers(stable: str, canary: str, *, model: str, requests: Iterator[Request]) -> Iterator[Pair]:
    """The answers of two servers, by their URLs, request by request and in turn.

    Raises:
        TorchfinchError: one gives no answer, or stable fails, which tells nothing of the canary.
    """
    with httpx.Client(timeout=_SECONDS, trust_env=False) as client:
        first, second = (_asking(client, f"{url}/predictions/{model}") for url in (stable, canary))
        for pair in ask_in_turn(first, second, requests):
            if pair.first.status >= 500:
                raise TorchfinchError(f"stable answered {pair.name} with status {pair.first.status}")
            yield pair


def _asking(client: httpx.Client, url: str) -> Ask:
    def ask(body: bytes) -> Answer:
        begun = time.perf_counter()
        try:
            response = client.post(url, content=body, headers=_ALL)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TorchfinchError(f"no answer from {url}: {str(error) or type(error).__name__}") from error
        seconds = time.perf_counter() - begun
        try:
            return Answer(response.status_code, response.json(), seconds)
        except ValueError:
            return Answer(response.status_code, response.text, seconds)

    return ask


def _summary(found: Difference, revision: int) -> Compared:
    if found.latency is None:
        raise TorchfinchError(f"neither version answered any of {len(found.pairs)} inputs")
    farthest = found.disagreements[0] if found.disagreements else None
    return Compared(
        at=time.time(),
        revision=revision,
        requests=len(found.answered),
        disagreements=len(found.disagreements),
        confidence_change=found.confidence.mean if found.confidence else None,
        latency_ratio=found.latency.mean,
        farthest=f"{farthest.name}, {farthest.first.told}, canary {farthest.second.told}" if farthest else "",
    )
