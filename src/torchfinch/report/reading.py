"""Files that others wrote: what is wrong with them is said in one way."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torchfinch.errors import TorchfinchError


@contextmanager
def reading(path: Path, *, what: str, hint: str) -> Iterator[None]:
    """Turn what a malformed file leads to into a `TorchfinchError` that names the file and `what` it should be."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OSError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise TorchfinchError(f"{path} is no {what} ({reason:.200})", hint) from error
