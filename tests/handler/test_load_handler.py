"""`torchfinch.testing.load_handler` as a worker's way to load one."""

import pickle
import sys
from pathlib import Path

import pytest
from serving.helpers import plain_archive

from torchfinch.archive import unpack
from torchfinch.testing import FakeContext, load_handler, predict

HANDLER = """
from helper import NAME


class Mine:
    def initialize(self, context):
        pass

    def handle(self, data, context):
        return [{"name": NAME} for _ in data]
"""


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two unpacked archives whose files have the same names."""
    found = []
    for name in ("one", "two"):
        helper = tmp_path / name / "helper.py"
        helper.parent.mkdir()
        helper.write_text(f"NAME = {name!r}\n")
        parts = ("--extra-files", str(helper))
        archive = plain_archive(tmp_path / f"store-{name}", "mine", HANDLER, parts=parts)
        found.append(tmp_path / f"model-{name}")
        unpack(archive, found[-1])
    return found


def test_archives_whose_files_are_called_alike_do_not_meet(folders: list[Path]) -> None:
    for folder, name in zip(folders, ("one", "two"), strict=True):
        context = FakeContext(folder)
        handler = load_handler(folder, context)

        assert predict(handler, context, b"") == [(200, {"name": name})]
        assert type(pickle.loads(pickle.dumps(handler))) is type(handler)
        assert sys.modules["mine"].__file__ == str(folder / "mine.py")
