"""The Kubernetes API as plain JSON: objects are dictionaries, and every request has a deadline.

The official client does authentication, TLS and connections. Its models are left out: a controller copies parts of
objects that it does not own, and must not lose the fields that it does not know.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client
from kubernetes import config as _config

from torchfinch import __version__
from torchfinch.errors import TorchfinchError

Object = dict[str, Any]
config: Any = _config  # it has no types

GROUP = "torchfinch.dev"
VERSION = "v1alpha1"
MANAGER = "torchfinch"
_SECONDS = 5.0
_PAGE = 100
_CONNECTIONS = 32
_JSON_PATCH = "application/json-patch+json"
_MERGE_PATCH = "application/merge-patch+json"


class ApiError(TorchfinchError):
    """The API server refused, or did not answer; `status` is then 0."""

    def __init__(self, message: str, status: int, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.status = status

    @property
    def passing(self) -> bool:
        """Whether to ask again later: no answer, a version too old, too many requests, a fault of the server."""
        return self.status in {0, 410, 429} or self.status >= 500


class Api:
    """Requests to one API server, by the context of a kubeconfig or the service account of the pod."""

    def __init__(self, context: str | None = None, *, seconds: float = _SECONDS) -> None:
        self._seconds = seconds
        try:
            if context or _where() or "KUBERNETES_SERVICE_HOST" not in os.environ:
                config.load_kube_config(**_where(), context=context)
            else:
                config.load_incluster_config()
        except (config.ConfigException, OSError) as error:
            raise TorchfinchError(f"no cluster is configured: {error}", "set KUBECONFIG, or use --context") from error
        settings = client.Configuration.get_default()
        settings.retries = False  # a request that fails is an error at once: whoever asked knows when to ask again
        settings.connection_pool_maxsize = _CONNECTIONS
        self._client = client.ApiClient(settings)
        self._client.user_agent = f"torchfinch/{__version__}"
        self.namespace = _namespace(context)
        self.may_change: Callable[[], bool] = lambda: True
        """Asked before every change of an object; one that comes too late is an `ApiError`."""

    def get(self, path: str, **query: object) -> Object:
        """The object or list at `path`."""
        return self._json("GET", path, query=query)

    def list_all(self, path: str) -> tuple[list[Object], str]:
        """All objects of the collection at `path`, read in pages, and the version from which to watch it."""
        found: list[Object] = []
        rest: Object = {}
        while True:
            page = self.get(path, limit=_PAGE, **rest)
            found.extend(page["items"])
            if not page["metadata"].get("continue"):
                return found, str(page["metadata"]["resourceVersion"])
            rest = {"continue": page["metadata"]["continue"]}

    def create(self, path: str, body: Object) -> Object:
        """A new object in the collection at `path`."""
        return self._change("POST", path, body)

    def merge(self, path: str, body: Object) -> Object:
        """Change some fields of the object at `path`; if `body` has its `resourceVersion`, only if it is still that."""
        return self._change("PATCH", path, body, _MERGE_PATCH)

    def patch(self, path: str, operations: list[Object]) -> Object:
        """Apply all of a JSON patch to the object at `path`, or nothing where one of its tests fails."""
        return self._change("PATCH", path, operations, _JSON_PATCH)

    def replace(self, path: str, body: Object) -> Object:
        """Put `body` in the place of the object at `path`, if it still has the `resourceVersion` of `body`."""
        return self._change("PUT", path, body)

    def watch(self, path: str, version: str, *, seconds: int) -> Iterator[Object]:
        """Events of the collection at `path` after `version`, until the server ends them: after `seconds` at most.

        Raises `ApiError` with status 410 where `version` is too old.
        """
        query = {"watch": 1, "resourceVersion": version, "allowWatchBookmarks": True, "timeoutSeconds": seconds}
        # A server that hangs or is gone ends nothing, so the client has a deadline of its own, not much later.
        response = self._request("GET", path, query=query, timeout=(self._seconds, seconds + self._seconds))
        try:
            for line in _lines(response.response):
                event: Object = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiError(f"watch {path}: {status.get('message')}", int(status.get("code", 0)))
                yield event
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise ApiError(f"the watch of {path} was cut off: {error}", 0) from error
        finally:
            response.response.close()

    def _change(self, method: str, path: str, body: Any, kind: str = "application/json") -> Object:
        if not self.may_change():
            raise ApiError(f"{method} {path}: not sent, for another controller may lead by now", 0)
        return self._json(method, path, query={"fieldManager": MANAGER}, body=body, kind=kind)

    def _json(self, method: str, path: str, **options: Any) -> Object:
        response = self._request(method, path, timeout=self._seconds, **options)
        try:
            content: Object = json.loads(response.read())
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise ApiError(f"{method} {path}: the answer was cut off: {error}", 0) from error
        return content

    def _request(
        self,
        method: str,
        path: str,
        *,
        timeout: float | tuple[float, float],
        query: Mapping[str, object] | None = None,
        body: Any = None,
        kind: str = "application/json",
    ) -> Any:
        headers = {"Accept": "application/json", "Content-Type": kind}
        pairs = [(name, str(value)) for name, value in (query or {}).items()]
        try:
            request = self._client.param_serialize(
                method, path, query_params=pairs, header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            response: Any = self._client.call_api(*request, _request_timeout=timeout)
            refusal = response.read() if response.status >= 400 else b""
        except (urllib3.exceptions.HTTPError, client.ApiException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise ApiError(f"{method} {path}: the API server does not answer: {reason}", 0) from error
        if response.status >= 400:
            raise ApiError(f"{method} {path}: {_message(refusal)}", response.status, _hint(response.status))
        return response


def _lines(response: Any) -> Iterator[bytes]:
    rest = b""
    for chunk in response.stream(amt=None, decode_content=False):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from filter(None, lines)


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:200]


def _hint(status: int) -> str | None:
    hints = {
        403: "k8s/controller/rbac.yaml has what the controller needs; a person needs get, list, watch and patch of"
        " canaryreleases",
        404: "the CustomResourceDefinition may be missing: kubectl apply --server-side -k k8s/crd",
    }
    return hints.get(status)


def _where() -> dict[str, str]:
    """The kubeconfig as it is set now: the client itself looks for it once, when it is imported."""
    return {"config_file": os.environ["KUBECONFIG"]} if os.environ.get("KUBECONFIG") else {}


def _namespace(context: str | None) -> str:
    try:
        contexts, active = config.list_kube_config_contexts(**_where())
    except config.ConfigException:
        return _own_namespace()
    chosen = next((each for each in contexts if each["name"] == context), active)
    return str(chosen["context"].get("namespace", "default"))


def _own_namespace() -> str:
    try:
        return Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read_text(encoding="utf-8").strip()
    except OSError:
        return "default"
