"""Serve an unpacked archive as a TorchServe worker would, to the process that started this one.

Run by path in a fresh process: `python -I worker_process.py TESTING_PY FOLDER`. It imports nothing of an installed
torchfinch, since the copy inside the archive is what is being looked at. The first line that it writes says what was
loaded; then each line on stdin is a batch, and each line on stdout its answers, or the traceback of what was raised.
"""

import base64
import importlib.util
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any


def main(testing_file: str, folder_name: str) -> None:
    """Load the handler in `folder_name` and answer until stdin ends."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a handler prints is no answer
    testing = _load(testing_file)
    folder = Path(folder_name)
    loaded: list[Any] = []

    def start() -> dict[str, Any]:
        context = testing.FakeContext(folder)
        handler = testing.load_handler(folder, context)
        loaded.extend((handler, context))
        return {"loaded": f"{type(handler).__name__} in {context.manifest['model']['handler']}"}

    def answer(batch: dict[str, Any]) -> dict[str, Any]:
        bodies = [base64.b64decode(body) for body in batch["bodies"]]
        began = time.perf_counter()
        answers = testing.predict(*loaded, *bodies, headers=batch["headers"])
        return {"answers": answers, "seconds": time.perf_counter() - began}

    _say(output, start)
    for line in sys.stdin:
        _say(output, partial(answer, json.loads(line)))


def _say(output: Any, work: Callable[[], dict[str, Any]]) -> None:
    try:
        report = work()
    except Exception:  # noqa: BLE001 - whatever the handler raises is the finding
        report = {"traceback": traceback.format_exc()}
    print(json.dumps(report, default=str), file=output, flush=True)


def _load(testing_file: str) -> Any:
    spec = importlib.util.spec_from_file_location("torchfinch_testing", testing_file)
    assert spec is not None
    assert spec.loader is not None
    testing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(testing)
    return testing


if __name__ == "__main__":
    main(*sys.argv[1:])
