"""Whether a server is ready: every worker READY and, if asked, every golden request answered as promised.

TorchServe's own `/ping` is healthy before a model is loaded and while its workers crash, so it is not asked.
"""

from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from torchfinch.archive.golden import difference
from torchfinch.archive.read import read_archive
from torchfinch.serving.client import Client
from torchfinch.serving.management import READY, ManagementClient


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
                problem = replay(url, name, store / version["modelUrl"], version=version["modelVersion"])
            found.append(Readiness(name, version["modelVersion"], count, len(statuses), problem))
    return found


def replay(url: str, model: str, archive: Path, *, version: str | None = None, requests: int = 0) -> str | None:
    """Send the archive's golden requests to a server, each once and then again until there were `requests` of them.

    Returns what differs first, as one sentence; `None` when every answer is as promised.
    """
    golden = read_archive(archive).golden
    if not golden:
        return "its archive has no golden requests"
    with Client(url) as client:
        for request in islice(cycle(golden), max(len(golden), requests)):
            answer = client.predict(model, request.body, version=version, top_k="all")
            problem = answer.problem or difference(request, answer.content)
            if problem:
                return problem
    return None
