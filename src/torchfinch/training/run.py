"""Run a recipe and leave a run folder, whole or not at all."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchfinch.errors import TorchfinchError
from torchfinch.evaluation import Evaluation, evaluate, probabilities
from torchfinch.handler import Preprocessing, safetensors
from torchfinch.training import network
from torchfinch.training.data import Data
from torchfinch.training.golden import golden_files, golden_requests
from torchfinch.training.loop import Epoch, fit
from torchfinch.training.recipe import Recipe
from torchfinch.training.settings import FitSettings, Settings

TOP_K = 5
"""Classes in an answer, unless the archive or the request says otherwise."""


@dataclass(frozen=True)
class Run:
    """What training left."""

    folder: Path
    """The run folder: all that `torchfinch pack` takes."""
    history: tuple[Epoch, ...]
    """Empty where the recipe has nothing to fit."""
    evaluation: Evaluation | None
    """On the test images; `None` where there are none."""
    golden: tuple[Mapping[str, Any], ...]
    """The entries of `golden.json`."""


def train(recipe: Recipe, config: Settings, *, runs: Path = Path("runs")) -> Run:
    """Build what `recipe` describes, fit it where `config` is a `FitSettings`, evaluate it, and write `runs/<recipe>`.

    An older run of that name stays until the new one is whole.

    Raises:
        TorchfinchError: the network cannot travel in an archive, or the fit failed.
    """
    with _replacing_run(runs / recipe.name) as folder:
        torch.manual_seed(config.seed)
        data, model, preprocessing = recipe.build(config)
        described = {
            "network": network.describe(model),
            "labels": list(data.labels),
            "preprocessing": preprocessing.to_dict(),
            "top_k": TOP_K,
        }
        shutil.copyfile(network.source(model), folder / "model.py")
        history = _fit(model, data, preprocessing=preprocessing, config=config)
        model.eval().cpu()
        evaluation = _evaluate(model, data, preprocessing=preprocessing)
        described["lineage"] = _lineage(recipe, config, data=data, evaluation=evaluation)
        safetensors.save(model.state_dict(), folder / "weights.safetensors")
        _write_json(folder / "model.json", described)
        if history:
            lines = (json.dumps(asdict(epoch)) + "\n" for epoch in history)
            (folder / "history.jsonl").write_text("".join(lines), encoding="utf-8")
        if evaluation:
            _write_json(folder / "evaluation.json", evaluation.to_dict())
        golden = _write_golden(folder, data, described=described)
    return Run(folder=runs / recipe.name, history=history, evaluation=evaluation, golden=golden)


def _fit(model: nn.Module, data: Data, *, preprocessing: Preprocessing, config: Settings) -> tuple[Epoch, ...]:
    if not isinstance(config, FitSettings):
        return ()
    return tuple(fit(model, data, preprocessing=preprocessing, settings=config))


def _evaluate(model: nn.Module, data: Data, *, preprocessing: Preprocessing) -> Evaluation | None:
    if data.test is None:
        return None
    rows = probabilities(model, data.test.pixels, preprocessing=preprocessing)
    return evaluate(data.test.targets, rows, labels=data.labels)


def _write_golden(folder: Path, data: Data, *, described: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    files = golden_files(data)
    (folder / "golden").mkdir()
    for name, body in files.items():
        (folder / "golden" / name).write_bytes(body)
    entries = golden_requests(files, folder, described=described)
    _write_json(folder / "golden" / "golden.json", entries)
    return tuple(entries)


def _lineage(recipe: Recipe, config: Settings, *, data: Data, evaluation: Evaluation | None) -> dict[str, Any]:
    return {
        "recipe": recipe.name,
        "metrics": {"test_accuracy": evaluation.accuracy} if evaluation else {},
        "data_digest": data.digest(),
        "git_revision": _git_revision(recipe.path),
        "seed": config.seed,
        "config": config.model_dump(mode="json"),
        "torch": torch.__version__,
    }


def _git_revision(path: Path) -> str | None:
    """The commit of a file's repository, with `-dirty` where files differ from it; `None` for a file not in one."""
    known = _git(path.parent, "ls-files", "--error-unmatch", path.name)
    return _git(path.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") if known else None


def _git(folder: Path, *arguments: str) -> str | None:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, env=environment
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip() or None


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _replacing_run(folder: Path) -> Iterator[Path]:
    """Yield a new folder, which takes the place of `folder` when the block ends without an error."""
    if folder.exists() and not (folder / "model.json").is_file():
        raise TorchfinchError(f"{folder} exists and is no run", "choose another folder with --runs")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        new.mkdir()
        yield new
        try:
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
        except BaseException:
            if old.exists() and not folder.exists():
                old.rename(folder)
            raise
