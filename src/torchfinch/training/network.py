"""What an archive must know of a network to build it again: its file, its class, and the class's arguments."""

import inspect
import json
from pathlib import Path
from typing import Any

from torch import nn

from torchfinch.archive.sources import check_network
from torchfinch.errors import TorchfinchError


def describe(model: nn.Module) -> dict[str, Any]:
    """The class and arguments of `model` as `model.json` has them.

    The arguments are read from attributes of their names, as scikit-learn's estimators keep theirs.

    Raises:
        TorchfinchError: an argument is not kept, or is nothing that JSON can hold.
    """
    kind = type(model)
    arguments = {name: _argument(model, name) for name in inspect.signature(kind).parameters}
    return {"class": kind.__name__, "arguments": arguments}


def source(model: nn.Module) -> Path:
    """The file that defines the class of `model`.

    Raises:
        TorchfinchError: the file would not load on a server that has torch and torchvision alone.
    """
    path = Path(inspect.getfile(type(model)))
    try:
        check_network(path)
    except TorchfinchError as error:
        name = type(model).__name__
        raise TorchfinchError(error.message, f"give {name} a file of its own that imports torch alone") from error
    return path


def _argument(model: nn.Module, name: str) -> Any:
    kind = type(model).__name__
    hint = f"write self.{name} = {name} in {kind}.__init__, so that a server can build the network again"
    if not hasattr(model, name):
        raise TorchfinchError(f"{kind} takes {name} and does not keep it", hint)
    value = getattr(model, name)
    try:
        return json.loads(json.dumps(value))
    except TypeError as error:
        raise TorchfinchError(f"{kind}.{name} is a {type(value).__name__}, which JSON cannot hold", hint) from error
