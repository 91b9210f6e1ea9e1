"""The unpacked archive as a handler sees it: configuration, labels, network and weights."""

import json
import re
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import nn

from torchfinch.handler import safetensors
from torchfinch.handler.errors import ArchiveError
from torchfinch.handler.images import Limits
from torchfinch.handler.preprocessing import Preprocessing

Module = TypeVar("Module", bound=nn.Module)


class Archive:
    """One unpacked `.mar` on the device of its worker.

    `config` is the whole `model-config.yaml`; what belongs to the SDK stands under its key `handler`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        manifest: Mapping[str, Any],
        config: Mapping[str, Any],
        device: torch.device | str = "cpu",
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.config = config
        self.device = torch.device(device)
        self.settings: Mapping[str, Any] = config.get("handler") or {}

    @property
    def name(self) -> str:
        """The model's name in the manifest."""
        return str(self.manifest["model"]["modelName"])

    @property
    def version(self) -> str:
        """The model's version in the manifest."""
        return str(self.manifest["model"]["modelVersion"])

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The class names, in the order of the network's outputs."""
        mapping = self.read_json("index_to_name.json")
        if sorted(map(int, mapping)) != list(range(len(mapping))):
            raise ArchiveError(f"index_to_name.json must name the classes 0 to {len(mapping) - 1}, each once")
        labels = [mapping[str(index)] for index in range(len(mapping))]
        # TorchServe's own examples map an index to [identifier, name]
        return tuple(str(label[-1]) if isinstance(label, list) else str(label) for label in labels)

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """What training applied to an image before the network."""
        try:
            return Preprocessing.from_dict(self.settings["preprocessing"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArchiveError(f"model-config.yaml, handler.preprocessing: {error}; pack the archive again") from error

    @cached_property
    def limits(self) -> Limits:
        """What the archive accepts as an image."""
        return Limits.from_dict(self.settings.get("limits") or {})

    @cached_property
    def lineage(self) -> Mapping[str, Any]:
        """Where the model comes from; empty for an archive that does not say."""
        return self.read_json("lineage.json") if (self.folder / "lineage.json").exists() else {}

    def read_json(self, name: str) -> dict[str, Any]:
        """Read an object from a JSON file of the archive.

        Raises:
            ArchiveError: the file is missing or no JSON object.
        """
        try:
            content = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ArchiveError(f"{name} cannot be read: {error}; pack the archive again") from error
        if not isinstance(content, dict):
            raise ArchiveError(f"{name} holds a {type(content).__name__}; it must hold an object")
        return content

    def network(self) -> nn.Module:
        """The network of `model.py` with its arguments and weights, in evaluation mode on the device.

        Raises:
            ArchiveError: the class, an argument or the weights do not fit together.
        """
        described = self.settings.get("network") or {}
        try:
            network = self._network_class(described.get("class"))(**(described.get("arguments") or {}))
        except TypeError as error:
            raise ArchiveError(f"model-config.yaml, handler.network.arguments: {error}") from error
        return self.load_weights(network)

    def load_weights(self, network: Module) -> Module:
        """Fill `network` with the archive's weights; evaluation mode, on the device.

        Raises:
            ArchiveError: names or shapes of the weights are not the network's.
        """
        path = self.folder / str(self.manifest["model"].get("serializedFile") or "weights.safetensors")
        try:
            safe = path.suffix == ".safetensors"
            weights = safetensors.load(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
            network.load_state_dict(weights)
        except ArchiveError:
            raise
        except Exception as error:  # torch.load may raise anything
            why = error if isinstance(error, (OSError, RuntimeError, TypeError)) else "it is no state dict"
            raise ArchiveError(f"{path.name} does not fit {type(network).__name__}: {why}") from error
        return network.eval().to(self.device)

    def _network_class(self, name: str | None) -> type[nn.Module]:
        file = self.folder / str(self.manifest["model"].get("modelFile") or "model.py")
        try:
            code = compile(file.read_bytes(), str(file), "exec")
        except (OSError, SyntaxError, ValueError) as error:
            raise ArchiveError(f"{file.name} cannot be loaded: {error}; pack the archive again") from error
        module = ModuleType(re.sub(r"\W", "_", f"_network_{file.resolve()}"))
        module.__file__ = str(file)
        sys.modules[module.__name__] = module  # where dataclasses, pickle and torch.compile look for what it defines
        exec(code, vars(module))  # noqa: S102 - an import would leave a __pycache__ in the folder it reads
        defined = {
            key: value
            for key, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == module.__name__
        }
        if name in defined:
            return defined[name]
        if name is None and len(defined) == 1:
            return next(iter(defined.values()))
        raise ArchiveError(f"{file.name} defines {', '.join(defined) or 'no network'}; the archive asks for {name}")
