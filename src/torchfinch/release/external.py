"""Asks web-hooks and Prometheus beside the loop: a look takes what was told meanwhile, and waits for nobody."""

import json
import math
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import httpx

from torchfinch.errors import TorchfinchError
from torchfinch.release.manifest.options import ExternalCheck
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.state import Counters, Finding, State

_LONGEST_ANSWER = 64 * 1024


class ExternalChecks:
    """What was told last, check by check; every check has a thread of its own while it is asked, and never two."""

    def __init__(self) -> None:
        self._found: dict[ExternalCheck, Finding] = {}
        self._asking: set[ExternalCheck] = set()
        self._lock = threading.Lock()

    def findings(self, spec: Spec, state: State, *, release: str) -> tuple[Finding, ...]:
        """The newest findings; asks again, for the next look, all that are not being asked."""
        for check in spec.checks:
            with self._lock:
                if check in self._asking:
                    continue
                self._asking.add(check)
            work = (check, spec, state, release)
            threading.Thread(target=self._ask, args=work, name=f"check-{check.name}", daemon=True).start()
        return tuple(self._found[check] for check in spec.checks if check in self._found)

    def _ask(self, check: ExternalCheck, spec: Spec, state: State, release: str) -> None:
        finding = Finding(name=check.name, at=time.time(), revision=state.revision)
        try:
            value = ask_webhook(check, about(spec, state, release)) if check.webhook else ask_prometheus(check, spec)
            finding = replace(finding, value=value)
        except TorchfinchError as error:
            finding = replace(finding, problem=error.message)
        finally:
            with self._lock:
                self._found = {asked: found for asked, found in self._found.items() if asked in spec.checks}
                self._found[check] = finding
                self._asking.discard(check)


def about(spec: Spec, state: State, release: str) -> dict[str, Any]:
    """What a web-hook is told of the release."""
    return {
        "release": release,
        "model": spec.model,
        "phase": state.phase,
        "weight": state.weight,
        "stable": {"digest": state.stable, **_counted(state.total.stable)},
        "canary": {"digest": state.canary, **_counted(state.total.canary)},
    }


def ask_webhook(check: ExternalCheck, body: Mapping[str, Any]) -> float:
    """The number that the web-hook answers, alone or as `value`; true is 1 and false 0.

    Raises:
        TorchfinchError: it answers something else, or nothing in time.
    """
    content = _fetch("POST", check.webhook or "", check.timeout, json=body)
    return _number(content.get("value") if isinstance(content, dict) else content)


def ask_prometheus(check: ExternalCheck, spec: Spec) -> float:
    """The one number that the query gives.

    Raises:
        TorchfinchError: it gives none, NaN, or several, or Prometheus does not answer in time.
    """
    url = f"{(check.address or spec.evidence.address).rstrip('/')}/api/v1/query"
    content = _fetch("GET", url, check.timeout, params={"query": check.query or ""})
    try:
        kind, found = content["data"]["resultType"], content["data"]["result"]
        pairs = [found] if kind == "scalar" else [each["value"] for each in found]
        numbers = [float(value) for _, value in pairs]
    except (KeyError, TypeError, ValueError) as error:
        raise TorchfinchError(f"{url} does not answer as a Prometheus") from error
    if len(numbers) != 1:
        raise TorchfinchError("the query gives no data" if not numbers else f"the query gives {len(numbers)} series")
    return _number(numbers[0])


def _fetch(method: str, url: str, seconds: float, **options: Any) -> Any:
    """The JSON of an answer of class 2xx that has come in whole within `seconds`."""
    end = time.monotonic() + seconds
    try:
        with httpx.Client(timeout=seconds, trust_env=False) as client, client.stream(method, url, **options) as answer:
            content = b"".join(parts(answer, end, most=_LONGEST_ANSWER))
            if not answer.is_success:
                said = " ".join(content[:200].decode(errors="replace").split())
                raise TorchfinchError(f"the answer has status {answer.status_code}: {said}")
            return json.loads(content)
    except httpx.TimeoutException as error:
        raise TorchfinchError(f"no answer within {seconds:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TorchfinchError(f"no answer: {error}") from error
    except ValueError as error:
        raise TorchfinchError("the answer is not JSON") from error


def parts(answer: httpx.Response, end: float, *, most: int) -> Iterator[bytes]:
    """The body, piece by piece; one that still comes at `end`, or has more than `most` bytes, is no answer."""
    size = 0
    for part in answer.iter_bytes():
        size += len(part)
        if time.monotonic() > end:
            raise httpx.ReadTimeout("it is still coming")
        if size > most:
            raise TorchfinchError(f"the answer is longer than {most} bytes")
        yield part


def _number(value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise TorchfinchError(f"{value!r} is no number")
    return float(value)


def _counted(counters: Counters) -> dict[str, Any]:
    return {"requests": counters.requests, "errors": counters.errors, "meanLatency": counters.mean_latency}
