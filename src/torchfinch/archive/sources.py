"""Checks of the Python files of an archive before packing: what TorchServe would only say at load time, or never."""

import ast
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

from torchfinch.errors import TorchfinchError

_NETWORK_MAY_IMPORT = {"torch", "torchvision", *sys.stdlib_module_names}
_TAKEN = {"model", "torch", "torchvision", "torchfinch", "ts", "PIL", "numpy", "golden", *sys.stdlib_module_names}


def check_name(name: str, *, what: str = "model name") -> None:
    """Refuse a name that cannot stand in the URL of a prediction, `/predictions/MODEL/VERSION`.

    Raises:
        TorchfinchError: it has other characters than letters, digits, `_`, `-` and `.`.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise TorchfinchError(f"the {what} {name!r} cannot stand in a URL", "use letters, digits, _ - and .")


def check_handler(path: Path) -> None:
    """Refuse a handler that a worker would not load.

    Raises:
        TorchfinchError: the file is missing or no Python, hides a module, defines not exactly one class, or imports
            from torchfinch what does not travel in the archive.
    """
    tree = _module(path)
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    entry = any(isinstance(node, ast.FunctionDef) and node.name == "handle" for node in tree.body)
    if len(classes) != 1 and not entry:
        found = ", ".join(classes) or "none"
        raise TorchfinchError(
            f"{path.name} defines {len(classes)} classes ({found}), and TorchServe loads exactly one",
            "move helpers into functions",
        )


def check_extra(path: Path) -> None:
    """Refuse a file beside the handler that is missing, or that a worker could not import.

    Raises:
        TorchfinchError: there is no such file, or it is Python that a handler may not be either, but for its classes.
    """
    if not path.is_file():
        raise TorchfinchError(f"there is no file {path}", "name files, not folders")
    if path.suffix == ".py":
        _module(path)


def check_network(path: Path) -> None:
    """Refuse a network file that would not load on a plain TorchServe.

    Raises:
        TorchfinchError: the file is missing, no Python, or imports more than torch and torchvision.
    """
    for name in _imports(_parse(path)):
        if name.split(".")[0] not in _NETWORK_MAY_IMPORT:
            raise TorchfinchError(f"{path.name} imports {name}", "a network file imports torch and torchvision alone")


def _module(path: Path) -> ast.Module:
    """A Python file that will lie at the top of the archive."""
    if path.stem in _TAKEN or not path.stem.isidentifier():
        raise TorchfinchError(f"{path.name} in an archive would hide the module {path.stem}", "rename the file")
    tree = _parse(path)
    for name in _imports(tree):
        if name.startswith("."):
            raise TorchfinchError(
                f"{path.name} imports {name}, and files of an archive are no package", f"import {name.lstrip('.')}"
            )
        if name.split(".")[0] == "torchfinch" and name.split(".")[1:2] != ["handler"]:
            raise TorchfinchError(
                f"{path.name} imports {name}, which does not travel in the archive",
                "import from torchfinch.handler only",
            )
    return tree


def _parse(path: Path) -> ast.Module:
    try:
        with tokenize.open(path) as stream:
            return ast.parse(stream.read(), filename=str(path))
    except OSError as error:
        raise TorchfinchError(f"{path} cannot be read: {error.strerror}") from error
    except SyntaxError as error:
        raise TorchfinchError(f"{path.name}, line {error.lineno or 1}: {error.msg}", "mend the file") from error
    except ValueError as error:  # another encoding, or a byte 0
        raise TorchfinchError(f"{path.name} is no Python: {error}", "mend the file") from error


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" if node.module else f"{module}{alias.name}" for alias in node.names)
