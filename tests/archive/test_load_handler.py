"""`torchfinch.testing.load_handler` on an archive that brings its own torchfinch."""

import os
import subprocess
import sys
from pathlib import Path

from torchfinch.archive.read import unpack
from torchfinch.testing import FakeContext, load_handler


def test_a_loaded_archive_hides_nothing_from_processes_that_start_later(colour_archive: Path, tmp_path: Path) -> None:
    unpack(colour_archive, tmp_path)
    assert not (tmp_path / "torchfinch" / "evaluation").exists()
    load_handler(tmp_path, FakeContext(tmp_path))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", "import torchfinch.evaluation"], env=environment, check=True)
