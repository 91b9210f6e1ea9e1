"""A small client of the inference API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from torchfinch.errors import TorchfinchError

_DIRECT = {f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")}
"""No proxy of the environment stands between a machine and itself."""
_CONNECT_SECONDS = 10.0
_LOST = (httpx.ReadTimeout, httpx.WriteTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
"""What befalls a request on its way, when there is a server to be asked again."""


class NoAnswerError(TorchfinchError):
    """A server took a request, and no answer came: in time, or at all."""


@dataclass(frozen=True)
class Answer:
    """What came back for one image."""

    status: int
    body: bytes
    content: Any
    """The decoded JSON; `None` where the body is none."""

    @property
    def problem(self) -> str | None:
        """Why there is no prediction, as one sentence; `None` when there is one."""
        if self.status == httpx.codes.OK:
            return None
        message = self.content.get("message") if isinstance(self.content, Mapping) else None
        return f"status {self.status}: {message or self.body[:200].decode(errors='replace')}"


class Client:
    """Ask a server at `url`, such as `http://127.0.0.1:8080`, for predictions and explanations.

    `timeout` in seconds; of a connection at most 10. What is asked raises NoAnswerError where no answer comes, and
    another TorchfinchError where no server is. `direct` is for a server that is known to be on this machine, whatever
    its address: no proxy of the environment is asked.
    """

    def __init__(self, url: str, *, timeout: float = 120, direct: bool = False) -> None:
        self._url = url.rstrip("/")
        limits = httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS))
        self._http = httpx.Client(timeout=limits, mounts=_DIRECT, trust_env=not direct)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def predict(self, model: str, body: bytes, *, top_k: str | None = None, version: str | None = None) -> Answer:
        """The prediction for one image; `top_k` is a number or `all`."""
        headers = {"torchfinch-top-k": top_k} if top_k else {}
        return self._post(f"predictions/{model}" + (f"/{version}" if version else ""), body, headers)

    def explain(
        self, model: str, body: bytes, *, method: str | None = None, target: int | None = None, png: bool = True
    ) -> Answer:
        """The explanation of one image: a PNG overlay, or attributions as JSON."""
        options = {"torchfinch-method": method, "torchfinch-target": None if target is None else str(target)}
        headers = {key: value for key, value in options.items() if value is not None}
        return self._post(f"explanations/{model}", body, {**headers, "accept": "image/png" if png else "*/*"})

    def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        try:
            response = self._http.post(f"{self._url}/{path}", content=body, headers=dict(headers))
        except _LOST as error:
            told = str(error) or type(error).__name__
            raise NoAnswerError(f"no answer from {self._url}: {told}", "ask again, or see its log") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TorchfinchError(f"no answer from {self._url}: {error}", "torchfinch serve starts a server") from error
        try:
            content = response.json()
        except ValueError:
            content = None
        return Answer(response.status_code, response.content, content)
