"""Run an unpacked archive as a worker would, and write down what happened.

Run by path in a fresh process: `python -I verify_worker.py TESTING_PY FOLDER REPORT`. It imports nothing of an
installed torchfinch, since the copy inside the archive is what is being verified.
"""

import importlib.util
import json
import sys
import traceback
from pathlib import Path
from typing import Any


def main(testing_file: str, folder_name: str, output: str) -> None:
    """Load the handler in `folder_name`, send it the golden requests and a broken image, report to `output`."""
    report: dict[str, Any] = {"loaded": "", "traceback": None, "answers": []}
    try:
        _work(testing_file, Path(folder_name), report)
    except Exception:  # noqa: BLE001 - whatever the handler raises is the finding
        report["traceback"] = traceback.format_exc()
    Path(output).write_text(json.dumps(report), encoding="utf-8")


def _work(testing_file: str, folder: Path, report: dict[str, Any]) -> None:
    spec = importlib.util.spec_from_file_location("torchfinch_testing", testing_file)
    assert spec is not None
    assert spec.loader is not None
    testing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(testing)
    context = testing.FakeContext(folder)
    handler = testing.load_handler(folder, context)
    report["loaded"] = f"{type(handler).__name__} in {context.manifest['model']['handler']}"
    golden = folder / "golden" / "golden.json"
    if golden.exists():
        names = [each["file"] for each in json.loads(golden.read_text(encoding="utf-8"))]
        bodies = [(folder / "golden" / name).read_bytes() for name in names]
        report["answers"] = testing.predict(handler, context, *bodies, b"this is no image")


if __name__ == "__main__":
    main(*sys.argv[1:])
