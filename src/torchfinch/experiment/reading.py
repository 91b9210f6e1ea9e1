"""Events read back from a folder and the folders in it, and old files compacted to Parquet."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from torchfinch.errors import TorchfinchError
from torchfinch.experiment.events import EVENT, Event
from torchfinch.experiment.log import LIVE, LOCK, EventLog, locked
from torchfinch.files import replacing

Fault = Callable[[str], None]
_SCHEMA = {
    "time": "double",
    "event": "string",
    "experiment": "string",
    "user": "string",
    "variant": "string",
    "share": "double",
    "request": "string",
    "seconds": "double",
    "failed": "bool",
    "metric": "string",
    "value": "double",
}


def read_events(folder: Path, *, on_fault: Fault) -> Iterator[Event]:
    """Every event in `folder` and below, where the folders of several machines may lie, in no promised order.

    `on_fault` is told the place of each line that is no event, such as a half one that a kill left; the rest is read.
    """
    with ExitStack() as stack:
        for path, stream in _open_all(folder, stack):
            reader = _parquet if path.suffix == ".parquet" else _lines
            yield from reader(path, stream, on_fault)


def compact(folder: Path) -> list[Path]:
    """Put the file being written aside, and turn all that were put aside into Parquet; returns the new files.

    A line that is no event is not carried over. Killed at any point it loses nothing and doubles nothing.

    Raises:
        TorchfinchError: pyarrow is not installed, or the folder does not exist.
    """
    arrow, parquet = _pyarrow()
    if not folder.is_dir():
        raise TorchfinchError(f"{folder} is no folder of events", "the log makes it with its first event")
    EventLog(folder).put_aside()
    made = []
    for source in sorted(folder.glob("events-*.jsonl")):
        target = source.with_suffix(".parquet")
        with source.open("rb") as stream, replacing(target) as temporary:
            rows = [event.model_dump() for event in _lines(source, stream, lambda _: None)]
            schema = arrow.schema([(name, arrow.type_for_alias(kind)) for name, kind in _SCHEMA.items()])
            parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), temporary, compression="zstd")
        source.unlink()
        made.append(target)
    return made


def _open_all(root: Path, stack: ExitStack) -> list[tuple[Path, BinaryIO]]:
    """Open every file under the folder's lock, so that one put aside meanwhile is neither missed nor read twice."""
    found: list[tuple[Path, BinaryIO]] = []
    for folder in sorted({root, *(path.parent for path in root.rglob("events*"))}):
        with locked(folder) if (folder / LOCK).exists() else nullcontext():
            for path in [folder / LIVE, *folder.glob("events-*.parquet"), *folder.glob("events-*.jsonl")]:
                compacted = path.suffix == ".jsonl" and path.with_suffix(".parquet").exists()
                if path.exists() and not compacted:
                    found.append((path, stack.enter_context(path.open("rb"))))
    return found


def _lines(path: Path, stream: BinaryIO, on_fault: Fault) -> Iterator[Event]:
    for number, line in enumerate(stream, start=1):
        try:
            yield EVENT.validate_json(line)
        except ValidationError:
            on_fault(f"{path}:{number}")


def _parquet(path: Path, stream: BinaryIO, on_fault: Fault) -> Iterator[Event]:
    arrow, parquet = _pyarrow()
    try:
        for batch in parquet.ParquetFile(stream).iter_batches(batch_size=10_000):
            for row in batch.to_pylist():
                yield EVENT.validate_python({name: value for name, value in row.items() if value is not None})
    except (arrow.ArrowException, OSError, ValueError):  # whatever is read: ValidationError is a ValueError
        on_fault(str(path))


def _pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise TorchfinchError("Parquet needs pyarrow", "pip install 'torchfinch[logs]'") from error
