"""The command that is TorchServe: Java with the wheel's server, its environment and its files."""

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata, resources
from pathlib import Path

from torchfinch.errors import TorchfinchError
from torchfinch.serving.config import read_properties
from torchfinch.serving.java import java
from torchfinch.serving.process import Detached


def launch(folder: Path, *, runtime: Path, store: Path, models: Mapping[str, str]) -> Detached:
    """Start TorchServe in a session of its own, with the properties in `folder` and temporary files in `runtime`."""
    (folder / "logs").mkdir(exist_ok=True)
    with (folder / "logs" / "output.log").open("wb") as output:
        return Detached(
            _command(folder, runtime=runtime, store=store, models=models),
            cwd=folder,
            env=_environment(folder, runtime),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,  # the management socket is for its owner alone
        )


def _command(folder: Path, *, runtime: Path, store: Path, models: Mapping[str, str]) -> list[str]:
    home = torchserve_home()
    properties = folder / "config.properties"
    named = [f"{name}={archive}" for name, archive in models.items()]
    return [
        str(java()),
        "-XX:+IgnoreUnrecognizedVMOptions",  # an older Java does not know the next two
        "--enable-native-access=ALL-UNNAMED",
        "--sun-misc-unsafe-memory-access=allow",
        f"-Dmodel_server_home={home}",
        f"-Djava.io.tmpdir={runtime}",
        f"-Dlog4j.configurationFile=file://{resources.files('torchfinch.serving') / 'log4j2.xml'}",
        *read_properties(properties).get("vmargs", "").split(),
        "-cp",
        str(home / "ts" / "frontend" / "*"),
        "org.pytorch.serve.ModelServer",
        "--python",
        sys.executable,
        "-f",
        str(properties),
        "-s",
        str(store),
        "-ncs",
        *(["-m", *named] if named else []),
    ]


def torchserve_home() -> Path:
    """The folder that holds TorchServe's package `ts`; found without importing it.

    Raises:
        TorchfinchError: TorchServe is not installed.
    """
    try:
        return Path(str(metadata.distribution("torchserve").locate_file("")))
    except metadata.PackageNotFoundError as error:
        raise TorchfinchError("TorchServe is not installed", "pip install torchserve==0.12.0") from error


def _environment(folder: Path, runtime: Path) -> dict[str, str]:
    # TS_CONFIG_FILE would win over our properties
    kept = {key: value for key, value in os.environ.items() if key not in {"TS_CONFIG_FILE", "JAVA_TOOL_OPTIONS"}}
    logs = str(folder / "logs")
    # Workers of several servers share the cores; OpenMP threads that spin while they wait would starve each other.
    kept.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return {**kept, "TEMP": str(runtime), "TMPDIR": str(runtime), "LOG_LOCATION": logs, "METRICS_LOCATION": logs}
