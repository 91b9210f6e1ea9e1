"""Files written whole or not at all, their digests, where checkpoints lie, and what YAML files hold."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from torchfinch.errors import TorchfinchError

CHECKPOINTS = ".checkpoints"
"""Follows the name of a run in that of the folder with its checkpoints."""


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the newest first; none where there is no such folder."""
    return sorted(folder.glob("epoch-*.pt"), reverse=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it over `path` when the block ends without an error.

    Raises:
        OSError: there is no room or no permission; names `path`, where it names a file of its own or none.
    """
    temporary = path
    try:
        temporary = _beside(path)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        if error.filename is None or Path(error.filename).name.startswith(f".{path.name}."):
            error.filename = str(path)
        raise
    finally:
        if temporary != path:
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` through a temporary file, so that no reader ever sees half of it."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def check_place(path: Path) -> None:
    """Make sure, before long work, that a file can be made at `path`; leaves nothing.

    Raises:
        OSError: it cannot, in the nearest folder that exists.
    """
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    _beside(nearest / path.name).unlink()


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_yaml(path: Path) -> Any:
    """What a YAML file of a person holds.

    Raises:
        TorchfinchError: it cannot be read, or is no YAML.
    """
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), source=str(path))
    except OSError as error:
        raise TorchfinchError(f"{path} cannot be read: {error.strerror}", "name another file") from error
    except UnicodeDecodeError as error:
        raise TorchfinchError(f"{path} is no text in UTF-8: {error}", "name another file") from error


def parse_yaml(text: str, *, source: str, aliases: bool = True) -> Any:
    """What YAML text holds; `source` is what an error calls it. Of `aliases`, a few may expand to gigabytes.

    Raises:
        TorchfinchError: it is no YAML, or has an alias that it may not have; names the line.
    """
    try:
        if not aliases:
            _refuse_aliases(text, source)
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        problem = str(error.problem).replace("'<stream end>'", "the end of the file")
        place = f"{source}{_line(error.problem_mark)}"
        raise TorchfinchError(f"{place} is no YAML: {problem}", "mend it there or a line above") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        # such as a date that there is not: PyYAML lets through whatever its constructors raise
        raise TorchfinchError(f"{source} is no YAML: {' '.join(str(error).split())}", "mend it") from error


def _refuse_aliases(text: str, source: str) -> None:
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            place = f"{source}{_line(event.start_mark)}"
            raise TorchfinchError(f"{place} has the alias *{event.anchor}", "write out what it stands for")


def _line(mark: Any) -> str:
    return f", line {mark.line + 1}," if mark else ""


def _beside(path: Path) -> Path:
    """A new empty file in the folder of `path`, which is made if need be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except FileNotFoundError as error:  # a parent is none to make files in, such as /proc
        raise NotADirectoryError(errno.ENOTDIR, "no file can be made there", str(path)) from error
    os.close(descriptor)
    return Path(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
