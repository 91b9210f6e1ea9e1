"""TorchServe's management API over its unix socket."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from torchfinch.errors import TorchfinchError

READY = "READY"
_REGISTERED = re.compile(r'Model "(?P<name>.+)" Version: (?P<version>\S+) registered with (?P<workers>\d+) ')


class ManagementClient:
    """Register, scale and look at the models of one TorchServe; opening the socket is the permission to do so."""

    def __init__(self, socket: Path, *, timeout: float = 180) -> None:
        self.socket = socket
        self._timeout = timeout

    def models(self) -> list[str]:
        """Names of all models."""
        content = self._call("GET", "/models", {"limit": "1000"})
        return sorted(str(model["modelName"]) for model in content["models"])

    def describe(self, name: str, version: str | None = None, *, customized: bool = False) -> list[dict[str, Any]]:
        """Every version of a model, or one: workers, queue, configuration; `customized` asks the handler as well."""
        described = list(self._call("GET", f"/models/{quote(name)}/{quote(version or 'all')}"))
        if not customized:
            return described
        paths = [f"/models/{quote(name)}/{quote(each['modelVersion'])}" for each in described]  # not told of `all`
        return [whole for path in paths for whole in self._call("GET", path, {"customized": "true"})]

    def register(self, archive: str, *, name: str | None = None, workers: int | None = None, gpus: int = 0) -> None:
        """Load an archive of the model store and wait for its workers.

        If `workers` does not say how many, there are as many as the archive says, or one, and at least one for each of
        the `gpus` that the server found.
        """
        parameters = {"url": archive, "initial_workers": str(workers or 1), "synchronous": "true"}
        answer = self._call("POST", "/models", {**parameters, **({"model_name": name} if name else {})})
        registered = _REGISTERED.match(answer["status"])
        if not registered:
            return
        model, version = registered["name"], registered["version"]
        try:
            if workers is None:
                self.use_gpus(model, gpus, version=version)
            elif int(registered["workers"]) != workers:  # the archive's number goes before ours
                self.scale(model, workers, version=version)
        except TorchfinchError:
            self.unregister(model, version=version)
            raise

    def use_gpus(self, name: str, count: int, *, version: str | None = None, anew: bool = False) -> None:
        """Give every version of a model, or one, a worker for each GPU that it may use of the server's `count`.

        TorchServe gives each further worker of any model the next GPU. So where workers of other models have started
        in between, all must start `anew`.
        """
        for each in self.describe(name, version) if count else []:
            wanted = _usable(each, count)
            if len(each["workers"]) < wanted:
                if anew:
                    self.scale(name, 0, version=each["modelVersion"])
                self.scale(name, wanted, version=each["modelVersion"])

    def scale(self, name: str, workers: int, *, version: str | None = None) -> None:
        """Set the number of workers and wait for them."""
        path = f"/models/{quote(name)}" + (f"/{quote(version)}" if version else "")
        count = str(workers)
        self._call("PUT", path, {"min_worker": count, "max_worker": count, "synchronous": "true"})

    def set_default(self, name: str, version: str) -> None:
        """Choose the version that answers requests that name none."""
        self._call("PUT", f"/models/{quote(name)}/{quote(version)}/set-default")

    def unregister(self, name: str, *, version: str | None = None) -> None:
        """Stop serving a model, or one version of it."""
        self._call("DELETE", f"/models/{quote(name)}" + (f"/{quote(version)}" if version else ""))

    def ready(self, name: str) -> bool:
        """Whether every worker of every version is READY, and there is at least one of each."""
        return all(_is_ready(version) for version in self.describe(name))

    def _call(self, method: str, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        try:
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(self.socket)), timeout=self._timeout) as client:
                response = client.request(method, f"http://localhost{path}", params=dict(parameters or {}))
        except httpx.HTTPError as error:
            raise TorchfinchError(
                f"no TorchServe answers on {self.socket}: {error}", "torchfinch serve --list shows what runs"
            ) from error
        if response.is_error:
            raise TorchfinchError(f"TorchServe refused {method} {path}: {_message(response)}")
        return response.json() if response.content else {}


def _is_ready(version: Mapping[str, Any]) -> bool:
    statuses = [worker["status"] for worker in version.get("workers", [])]
    return bool(statuses) and all(status == READY for status in statuses)


def _usable(version: Mapping[str, Any], count: int) -> int:
    """How many of `count` GPUs a version may use: its archive may keep to a CPU, or to some by `deviceIds`."""
    if not any(worker["gpu"] for worker in version["workers"]):
        return 0
    return len(version.get("deviceIds") or range(count)) // max(version.get("parallelLevel") or 1, 1)


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json().get("message", response.text))[:500]
    except (ValueError, AttributeError):
        return f"status {response.status_code}"
