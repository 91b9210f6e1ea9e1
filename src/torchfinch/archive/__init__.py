"""Model archives: pack a run into a `.mar` that proves itself, read one safely, and verify it in a fresh process."""

from torchfinch.archive.golden import Golden, difference
from torchfinch.archive.pack import pack_run
from torchfinch.archive.read import ArchiveInfo, read_archive, unpack
from torchfinch.archive.serving import ServingConfig
from torchfinch.archive.verify import Check, Verification, verify

__all__ = [
    "ArchiveInfo",
    "Check",
    "Golden",
    "ServingConfig",
    "Verification",
    "difference",
    "pack_run",
    "read_archive",
    "unpack",
    "verify",
]
