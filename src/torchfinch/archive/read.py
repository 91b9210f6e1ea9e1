"""Reading a `.mar` without trusting it: nothing is written outside its folder, and nothing expands without end."""

import errno
import json
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from torchfinch.archive.golden import Golden
from torchfinch.errors import TorchfinchError
from torchfinch.files import parse_yaml, sha256

MANIFEST = "MAR-INF/MANIFEST.json"
DIGESTS = "MAR-INF/DIGESTS.json"
GOLDEN = "golden/golden.json"
MAX_EXPANDED = 8 * 2**30
"""Most bytes that an archive may unpack to."""
_MAX_ENTRIES = 10_000
_MAX_TEXT = 16 * 2**20
_MAX_GOLDEN = 256 * 2**20


class _DamageError(Exception):
    """A part of an archive is not what it must be."""


_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError, RuntimeError),
    *(UnicodeDecodeError, _DamageError),
)
"""What `zipfile` raises for bytes that are not what they were; RuntimeError for a flag that says encrypted."""
_NOT_OF_THE_ARCHIVE = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there",
    errno.EROFS: "choose another place",
    errno.EACCES: "have somebody give you the right",
    errno.EPERM: "have somebody give you the right",
}


@dataclass(frozen=True, kw_only=True)
class ArchiveInfo:
    """What an archive says about itself; fields that a plain TorchServe archive does not have are empty."""

    path: Path
    digest: str
    """SHA-256 of the file: the archive's identity."""
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]
    """The whole `model-config.yaml`."""
    labels: tuple[str, ...]
    golden: tuple[Golden, ...]
    lineage: Mapping[str, Any]
    digests: Mapping[str, str]
    """SHA-256 by file name, as written by `torchfinch pack`."""
    files: Mapping[str, int]
    """Bytes by file name."""

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.manifest["model"]["modelName"])

    @property
    def version(self) -> str:
        """The model's version."""
        return str(self.manifest["model"].get("modelVersion", "1.0"))

    @property
    def handler(self) -> Mapping[str, Any]:
        """The SDK's part of the configuration; empty for a plain archive."""
        return self.config.get("handler") or {}


def read_archive(path: Path) -> ArchiveInfo:
    """Read what an archive says about itself, without unpacking it.

    Raises:
        TorchfinchError: the file is missing, no archive, damaged, unsafe to unpack, or lacks what TorchServe needs.
    """
    with _opened(path) as archive:
        manifest = _json(archive, MANIFEST)
        if not isinstance(manifest.get("model"), dict) or not {"modelName", "handler"} <= set(manifest["model"]):
            raise TorchfinchError(f"{path.name}: {MANIFEST} names no model and handler", "pack the archive again")
        return ArchiveInfo(
            path=path,
            digest=sha256(path),
            manifest=manifest,
            config=_config(archive, manifest["model"].get("configFile")),
            labels=_labels(archive),
            golden=_golden(archive),
            lineage=_json(archive, "lineage.json"),
            digests=_json(archive, DIGESTS),
            files={entry.filename: entry.file_size for entry in archive.infolist() if not entry.is_dir()},
        )


def unpack(path: Path, folder: Path, *, limit: int = MAX_EXPANDED) -> None:
    """Unpack an archive into `folder`.

    Raises:
        TorchfinchError: the file is damaged, an entry would leave the folder or is a link, the whole expands beyond
            `limit` bytes, or the folder has no room for it.
    """
    with _opened(path, limit=limit, into=folder) as archive:
        archive.extractall(folder)


@contextmanager
def _opened(path: Path, *, limit: int = MAX_EXPANDED, into: Path | None = None) -> Iterator[zipfile.ZipFile]:
    """The archive, found harmless; a fault that shows only while it is read or unpacked is told in the same way."""
    if not path.is_file():
        raise TorchfinchError(f"there is no archive {path}", "torchfinch train or torchfinch pack makes one")
    try:
        with zipfile.ZipFile(path) as archive:
            problem = _problem(archive.infolist(), limit)
            if problem:
                raise TorchfinchError(f"{path.name} is refused: {problem}", "do not serve it; ask where it came from")
            yield archive
    except _DAMAGED as error:
        raise _told(error, path, into) from error


def _told(error: Exception, path: Path, into: Path | None) -> TorchfinchError:
    if isinstance(error, OSError) and error.errno in _NOT_OF_THE_ARCHIVE:
        done = f"unpacked into {into}" if into else "read"
        return TorchfinchError(f"{path} cannot be {done}: {error.strerror}", _NOT_OF_THE_ARCHIVE[error.errno])
    hint = "a .mar is a zip file: pack it again, or copy it again from where it came"
    return TorchfinchError(f"{path} is no model archive, or a damaged one: {error}", hint)


def _problem(entries: list[zipfile.ZipInfo], limit: int) -> str | None:
    if len(entries) > _MAX_ENTRIES:
        return f"it has {len(entries)} entries, more than {_MAX_ENTRIES}"
    expanded = sum(entry.file_size for entry in entries)
    if expanded > limit:
        return f"it expands to {expanded} bytes, more than {limit}"
    names = [entry.filename.removesuffix("/") for entry in entries]
    if len(set(names)) != len(names):
        return "it holds two entries of one name"
    return next(filter(None, map(_fault, entries)), None)


def _fault(entry: zipfile.ZipInfo) -> str | None:
    name, path = entry.filename, PurePosixPath(entry.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        return f"the entry {name!r} leaves the archive's folder"
    if not path.parts or str(path) != name.removesuffix("/"):
        return f"the entry {name!r} can be written shorter, and may hide another"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return f"the entry {name!r} is a symbolic link"
    return None


def _text(archive: zipfile.ZipFile, name: str) -> str | None:
    try:
        entry = archive.getinfo(name)
    except KeyError:
        return None
    if entry.file_size > _MAX_TEXT:
        raise TorchfinchError(f"{name} has {entry.file_size} bytes, too many for a text", "pack the archive again")
    return archive.read(entry).decode("utf-8", errors="replace")


def _json(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    text = _text(archive, name)
    try:
        content = json.loads(text) if text is not None else {}
    except ValueError as error:
        raise TorchfinchError(f"{name} is no JSON: {error}", "pack the archive again") from error
    return content if isinstance(content, dict) else {}


def _config(archive: zipfile.ZipFile, name: Any) -> dict[str, Any]:
    if not isinstance(name, str | None):
        raise _DamageError(f"{MANIFEST} has the configFile {name!r}, which is no name")
    content = parse_yaml(_text(archive, name) or "", source=name, aliases=False) if name else {}
    config = content if isinstance(content, dict) else {}
    handler = config.get("handler") or {}
    if not isinstance(handler, dict):
        raise _DamageError(f"{name} has the handler {handler!r:.80}, which is no mapping")
    return config


def _labels(archive: zipfile.ZipFile) -> tuple[str, ...]:
    mapping = _json(archive, "index_to_name.json")
    try:
        labels = [mapping[key] for key in sorted(mapping, key=lambda key: int(key) if key.isdecimal() else 0)]
        return tuple(str(label[-1]) if isinstance(label, list) else str(label) for label in labels)
    except (ValueError, IndexError) as error:
        raise _DamageError(f"index_to_name.json: {error}") from error


def _golden(archive: zipfile.ZipFile) -> tuple[Golden, ...]:
    text = _text(archive, GOLDEN)
    if text is None:
        return ()
    try:
        entries = [(each["file"], f"golden/{each['file']}", each["expected"]) for each in json.loads(text)]
        size = sum(archive.getinfo(path).file_size for _, path, _ in entries)
        if size > _MAX_GOLDEN:
            raise TorchfinchError(f"the golden requests have {size} bytes, more than {_MAX_GOLDEN}", "pack fewer")
        return tuple(Golden(name, archive.read(path), expected) for name, path, expected in entries)
    except (ValueError, KeyError, TypeError) as error:
        raise TorchfinchError(f"{GOLDEN} is broken: {error}", "pack the archive again") from error
