"""A controller in its own process: `python killed.py FOLDER [CALL]` ends itself by SIGKILL just before CALL."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from torchfinch.release.controller import Controller
from torchfinch.release.local.evidence import EnvoyEvidence
from torchfinch.release.local.servers import read_manifest

sys.path.append(str(Path(__file__).parents[1]))
from release.helpers import Release


class Deadly:
    """Passes everything on to the real thing, until it is asked for the one call."""

    def __init__(self, real: Any, call: str) -> None:
        self._real, self._call = real, call

    def __getattr__(self, name: str) -> Any:
        return self._die if name == self._call else getattr(self._real, name)

    def _die(self, *_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, call: str) -> None:
    release = Release(folder)
    controller = Controller(
        read_spec=lambda: read_manifest(release.manifest).spec,
        router=release.router,
        evidence=EnvoyEvidence(release.router),
        store=Deadly(release.store, call),
    )
    with release.store.locked():
        print("at work", flush=True)
        controller.run(until=lambda tick: tick.outcome is not None)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
