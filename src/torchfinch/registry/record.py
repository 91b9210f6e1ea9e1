"""What is known of a training: from its run folder, or from its checkpoints while it is not finished."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchfinch.errors import TorchfinchError
from torchfinch.files import CHECKPOINTS, checkpoint_files, sha256

_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
_ORIGIN = ("data_digest", "git_revision", "torch")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One training."""

    folder: Path
    """The run folder; of an unfinished training, that of its checkpoints."""
    finished: bool
    recipe: str
    settings: Mapping[str, Any]
    """All of them, by dotted name."""
    origin: Mapping[str, Any]
    """Data, code and library that it comes from, where they are known."""
    network: Mapping[str, Any]
    """Its class and arguments, as `network.class` and so on."""
    epochs: Sequence[Mapping[str, Any]]
    """As in `history.jsonl`."""
    scores: Mapping[str, float]
    """On the test images, `test_accuracy` and so on; empty where there are none."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "folder": str(self.folder)}


@dataclass(frozen=True)
class Difference:
    """What two trainings have each of one thing; `None` where one has none."""

    first: Any
    second: Any

    @property
    def change(self) -> float | None:
        """From the first to the second, where both are numbers."""
        numbers = all(isinstance(value, int | float) for value in (self.first, self.second))
        return self.second - self.first if numbers else None


def find_folders(root: Path) -> list[Path]:
    """Every run folder and every folder of checkpoints below `root`, in the order of their paths."""
    runs = {path.parent for path in root.rglob("model.json")}
    unfinished = set(filter(checkpoint_files, root.rglob(f"*{CHECKPOINTS}")))
    return sorted(path for path in runs | unfinished if not _hidden(path.relative_to(root)))


def read_record(folder: Path) -> Record:
    """Read a run folder, or a folder of checkpoints.

    Raises:
        TorchfinchError: it is neither, or a file in it cannot be read.
    """
    try:
        return _unfinished(folder) if folder.name.endswith(CHECKPOINTS) else _finished(folder)
    except _UNREADABLE as error:
        raise TorchfinchError(
            f"{folder} is no run folder: {_reason(error)}", "torchfinch train NAME makes one"
        ) from error


def _reason(error: BaseException) -> str | None:
    if isinstance(error, OSError):
        return error.strerror
    if isinstance(error, json.JSONDecodeError):
        return f"a file in it is no JSON (line {error.lineno})"
    return f"it lacks {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}".splitlines()[0]


def unfinished_folder(run: Path) -> Path | None:
    """Where the checkpoints of a run that is not finished lie, if it has any."""
    folder = run.with_name(run.name + CHECKPOINTS)
    return folder if checkpoint_files(folder) else None


def weights_digest(run: Path) -> str:
    """SHA-256 of a run folder's weights, which its archives have, too; empty where there are none."""
    files = sorted(run.glob("weights.*"))
    return sha256(files[0]) if files else ""


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Difference]:
    """What the two do not have in common, by name."""
    pairs = {name: Difference(first.get(name), second.get(name)) for name in {**first, **second}}
    return {name: pair for name, pair in pairs.items() if pair.first != pair.second}


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values by dotted name."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _finished(folder: Path) -> Record:
    described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    lineage, network = described.get("lineage") or {}, described["network"]
    return Record(
        folder=folder,
        finished=True,
        recipe=str(lineage.get("recipe", "")),
        settings=dict(flat(lineage.get("config") or {})),
        origin={name: lineage[name] for name in _ORIGIN if lineage.get(name)},
        network=dict(flat({"network": {"class": network["class"], **network.get("arguments", {})}})),
        epochs=[json.loads(line) for line in _read(folder / "history.jsonl").splitlines()],
        scores=_scores(json.loads(_read(folder / "evaluation.json") or "{}")) or lineage.get("metrics") or {},
    )


def _unfinished(folder: Path) -> Record:
    """By the newest checkpoint that can be read, as a training that goes on."""
    paths = checkpoint_files(folder)
    if not paths:
        raise TorchfinchError(f"{folder} holds no checkpoint", "torchfinch runs list shows what there is")
    for path in paths[:-1]:
        with suppress(TorchfinchError, *_UNREADABLE):
            return _of_checkpoint(path)
    return _of_checkpoint(paths[-1])


def _of_checkpoint(path: Path) -> Record:
    from torchfinch.training.checkpoint import read_checkpoint  # noqa: PLC0415 # brings torch; a run needs none

    content = read_checkpoint(path)
    identity = content["identity"]
    return Record(
        folder=path.parent,
        finished=False,
        recipe=identity["recipe"],
        settings=dict(flat(identity["config"])),
        origin={"data_digest": identity["data_digest"]},
        network={},
        epochs=content["state"]["history"],
        scores={},
    )


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _scores(evaluation: Mapping[str, Any]) -> dict[str, float]:
    return {f"test_{name}": value for name, value in evaluation.items() if isinstance(value, float)}
