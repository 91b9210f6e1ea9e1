"""Golden requests of an archive with a handler of one's own: what it must answer is what it answers when packed."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchfinch.archive.golden import EVERYTHING, Golden, difference
from torchfinch.archive.worker import WorkerError, run_worker
from torchfinch.console import err
from torchfinch.errors import TorchfinchError


def recorded(entries: list[dict[str, Any]], files: Mapping[str, bytes], *, handler: str) -> list[dict[str, Any]]:
    """The entries of `golden.json` as the handler in `files` (an archive's content by name) answers them.

    Where it answers as the network alone does, which is what `entries` expect, they stay; where not, that is said.

    Raises:
        TorchfinchError: the handler cannot be loaded, raises, or refuses a golden request.
    """
    requests = [Golden(entry["file"], files[f"golden/{entry['file']}"], entry["expected"]) for entry in entries]
    with tempfile.TemporaryDirectory(prefix="torchfinch-pack-") as temporary:
        for name, content in files.items():
            path = Path(temporary) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        whole, shown = _answers(Path(temporary), requests, handler)
    other = next(filter(None, map(difference, requests, whole)), None)
    if other is None:
        return entries
    err.print(
        f"{handler} answers otherwise than the network alone, so its own answers are the golden ones", markup=False
    )
    err.print(f"  {other}", markup=False, soft_wrap=True)
    return [{"file": request.name, "expected": answer} for request, answer in zip(requests, shown, strict=True)]


def _answers(folder: Path, requests: list[Golden], handler: str) -> tuple[list[Any], list[Any]]:
    """With all probabilities, and as a client gets them."""
    bodies = [request.body for request in requests]
    try:
        with run_worker(folder) as worker:
            asked = [worker.ask(*bodies, headers=headers).answers for headers in (EVERYTHING, None)]
    except WorkerError as fault:
        err.print(fault.traceback, markup=False, soft_wrap=True)
        raise TorchfinchError(f"{handler} fails: {fault.traceback.splitlines()[-1]}", "nothing was packed") from fault
    for request, (status, answer) in zip(requests, asked[0], strict=True):
        if status != 200:
            raise TorchfinchError(
                f"{handler} refuses the golden request {request.name} with status {status}: {_message(answer)}",
                "mend the handler, or take the request out of golden/golden.json in the run folder",
            )
    whole, shown = ([answer for _, answer in answers] for answers in asked)
    return whole, shown


def _message(answer: Any) -> str:
    return str(answer["message"] if isinstance(answer, dict) and "message" in answer else answer)[:200]
