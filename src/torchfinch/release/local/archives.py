"""The archives of a release: told apart by the SHA-256 of their bytes, and kept as its own copies."""

import shutil
from collections.abc import Collection
from pathlib import Path

from torchfinch.errors import TorchfinchError
from torchfinch.files import replacing, sha256


class Archives:
    """A folder of archives named after their digests, which later changes of the named files do not touch."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[int, int, str]] = {}

    def digest(self, archive: str) -> str:
        """SHA-256 of the file `archive`, counted again only when it has changed. Raises `TorchfinchError`."""
        try:
            stat = Path(archive).stat()
            size, changed, digest = self._known.get(archive, (-1, -1, ""))
            if (size, changed) != (stat.st_size, stat.st_mtime_ns):
                digest = sha256(Path(archive))
                self._known[archive] = (stat.st_size, stat.st_mtime_ns, digest)
        except OSError as error:
            raise TorchfinchError(f"archive {archive} cannot be read: {error.strerror}", "torchfinch pack") from error
        return digest

    def fetch(self, digest: str, *, source: str | None) -> Path:
        """The copy of the archive with this digest, made from the file `source` where there is none yet."""
        kept = self._folder / f"{digest}.mar"
        if kept.exists():
            return kept
        if source is None or self.digest(source) != digest:
            raise TorchfinchError(f"the archive with digest {digest[:12]} is not there any more")
        with replacing(kept) as temporary:
            shutil.copyfile(source, temporary)
            if sha256(temporary) != digest:
                raise TorchfinchError(f"archive {source} changed while it was copied")
        return kept

    def keep(self, digests: Collection[str]) -> None:
        """Remove all copies but these."""
        for path in self._folder.glob("*.mar"):
            if path.stem not in digests:
                path.unlink()
