"""Which code an estimator is made of: a recipe's file, and the neighbours that it imports."""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path


def code_digest(path: Path) -> str:
    """The SHA-256 of a Python file and of all files that it imports relatively, and they in turn.

    `from .networks.digits import DigitsNet` is followed; what is installed is not.
    """
    files = {path}
    waiting = [path]
    while waiting:
        new = set(_neighbours(waiting.pop())) - files
        files |= new
        waiting += new
    digest = hashlib.sha256()
    for each in sorted(files):
        digest.update(hashlib.sha256(each.read_bytes()).digest())
    return digest.hexdigest()


def _neighbours(path: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.level:
            place = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for module in (place, *(place / alias.name for alias in node.names)):
                files = (module.with_name(f"{module.name}.py"), module / "__init__.py")
                yield from (file for file in files if file.is_file())
