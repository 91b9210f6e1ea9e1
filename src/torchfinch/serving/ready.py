"""Whether a server is ready: every worker READY and, if asked, every golden request answered as promised.

TorchServe's own `/ping` is healthy before a model is loaded and while its workers crash, so it is not asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from torchfinch.archive.golden import Golden, difference
from torchfinch.archive.read import read_archive
from torchfinch.errors import TorchfinchError
from torchfinch.serving.client import Client
from torchfinch.serving.management import READY, ManagementClient

_GOLDEN_SECONDS = 20.0
"""Longest wait for one golden request, for who asks may be a probe."""


@dataclass(frozen=True)
class Readiness:
    """One version of one model: how many of its workers are READY, and what keeps it from being ready."""

    model: str
    version: str
    ready: int
    workers: int
    problem: str | None = None


def readiness(
    management: ManagementClient, *, model: str | None = None, url: str | None = None, store: Path | None = None
) -> list[Readiness]:
    """Look at all models, or one. With `url` and `store` the archives' golden requests are sent there as well.

    Raises:
        TorchfinchError: the server does not answer, or the model is not there.
    """
    names = [model] if model else management.models()
    found = []
    for name in names:
        for version in management.describe(name):
            statuses = [worker["status"] for worker in version["workers"]]
            count = statuses.count(READY)
            problem = None if statuses and count == len(statuses) else f"workers are {', '.join(statuses) or 'none'}"
            if problem is None and url and store:
                problem = _replay(url, store, version)
            found.append(Readiness(name, version["modelVersion"], count, len(statuses), problem))
    return found


def _replay(url: str, store: Path, described: Mapping[str, Any]) -> str | None:
    """`replay` for one version, no answer of which may take longer than the model has for it."""
    name, version, archive = (described[key] for key in ("modelName", "modelVersion", "modelUrl"))
    seconds = min(_GOLDEN_SECONDS, described["responseTimeout"])
    return replay(url, name, store / archive, version=version, timeout=seconds)


def replay(
    url: str, model: str, archive: Path, *, version: str | None = None, requests: int = 0, timeout: float = 120
) -> str | None:
    """Send the archive's golden requests to a server, each once and then again until there were `requests` of them.

    Returns what is wrong first, as one sentence: an answer that differs, or none within `timeout` seconds; `None` when
    every answer is as promised.
    """
    golden = read_archive(archive).golden
    if not golden:
        return "its archive has no golden requests"
    with Client(url, timeout=timeout, direct=True) as client:
        sent = islice(cycle(golden), max(len(golden), requests))
        return next(filter(None, (_problem(client, model, version, request) for request in sent)), None)


def _problem(client: Client, model: str, version: str | None, request: Golden) -> str | None:
    try:
        answer = client.predict(model, request.body, version=version, top_k="all")
    except TorchfinchError as error:
        return error.message
    return answer.problem or difference(request, answer.content)
