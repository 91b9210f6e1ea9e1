"""A trained model, from its run folder or its archive, ready to be asked about many images at once."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from torchfinch.archive import read_archive, unpack
from torchfinch.errors import TorchfinchError
from torchfinch.handler import Archive, ArchiveError, Preprocessing

_WEIGHTS = ("weights.safetensors", "weights.pth")


@dataclass(frozen=True, eq=False)
class Model:
    """A network with all that is needed to judge it."""

    name: str
    """The folder's name, or the archive's with its version."""
    regression: bool
    """Whether it predicts numbers rather than classes."""
    network: nn.Module
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    lineage: Mapping[str, Any]


def load_model(path: Path) -> Model:
    """Load a run folder or a `.mar`; as in serving, its `model.py` is executed.

    Raises:
        TorchfinchError: it is neither, or its parts do not fit together.
    """
    try:
        return _from_run(path) if path.is_dir() else _from_archive(path)
    except (ArchiveError, KeyError) as error:
        raise TorchfinchError(f"{path} cannot be loaded: {error}", "train or pack it again") from error


def _from_run(folder: Path) -> Model:
    try:
        described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TorchfinchError(f"{folder} is no run folder: {error}", "torchfinch train NAME makes one") from error
    weights = next((name for name in _WEIGHTS if (folder / name).is_file()), _WEIGHTS[0])
    manifest = {"model": {"modelFile": "model.py", "serializedFile": weights}}
    archive = Archive(folder, manifest=manifest, config={"handler": described})
    return _model(
        folder.resolve().name, archive, labels=tuple(described["labels"]), lineage=described.get("lineage") or {}
    )


def _from_archive(path: Path) -> Model:
    info = read_archive(path)
    if not info.handler:
        raise TorchfinchError(f"{path} says nothing about its network", "only archives of torchfinch pack do")
    with tempfile.TemporaryDirectory(prefix="torchfinch-evaluate-") as folder:
        unpack(path, Path(folder))
        archive = Archive(Path(folder), manifest=info.manifest, config=info.config)
        return _model(f"{info.name} {info.version}", archive, labels=info.labels, lineage=info.lineage)


def _model(name: str, archive: Archive, *, labels: tuple[str, ...], lineage: Mapping[str, Any]) -> Model:
    return Model(
        name=name,
        regression=archive.settings.get("task") == "regression",
        network=archive.network(),
        labels=labels,
        preprocessing=archive.preprocessing,
        lineage=lineage,
    )
