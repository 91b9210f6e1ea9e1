"""Every handler loads as a worker loads it, and every archive proves itself."""

import importlib.util
import inspect
from pathlib import Path

import pytest

from torchfinch.archive import verify
from torchfinch.handler import ImageHandler

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("path", sorted((ROOT / "handlers").glob("*.py")), ids=lambda path: path.stem)
def test_a_handler_file_defines_exactly_one_handler(path: Path) -> None:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    classes = [value for _, value in inspect.getmembers(module, inspect.isclass) if value.__module__ == path.stem]

    assert len(classes) == 1
    assert issubclass(classes[0], ImageHandler)


@pytest.mark.parametrize("path", sorted((ROOT / "model_store").glob("*.mar")), ids=lambda path: path.stem)
def test_an_archive_proves_itself(path: Path) -> None:
    result = verify(path)

    assert result.ok, result.traceback or result.checks
