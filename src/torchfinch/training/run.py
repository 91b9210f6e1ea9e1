"""Run a recipe and leave a run folder, whole or not at all."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchfinch.errors import TorchfinchError
from torchfinch.evaluation import Evaluation, RegressionEvaluation, evaluate, evaluate_regression, outputs
from torchfinch.evaluation.source_code import code_digest
from torchfinch.files import CHECKPOINTS
from torchfinch.handler import Preprocessing, safetensors
from torchfinch.training import network
from torchfinch.training.checkpoint import Checkpoints, alone
from torchfinch.training.checks import check_every_class
from torchfinch.training.data import Data
from torchfinch.training.golden import golden_files, golden_requests
from torchfinch.training.history import Epoch
from torchfinch.training.loop import fit, say
from torchfinch.training.recipe import Recipe
from torchfinch.training.runtime import rank
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
    evaluation: Evaluation | RegressionEvaluation | None
    """On the test images; `None` where there are none."""
    golden: tuple[Mapping[str, Any], ...]
    """The entries of `golden.json`."""


def train(
    recipe: Recipe,
    config: Settings,
    *,
    runs: Path = Path("runs"),
    resume: bool = False,
    told: Callable[[Epoch], object] = lambda _epoch: None,
) -> Run:
    """Build what `recipe` describes, fit it where `config` is a `FitSettings`, evaluate it, and write `runs/<recipe>`.

    An older run of that name stays until the new one is whole. `runs/<recipe>.checkpoints` holds the last epochs until
    then; `resume` goes on from there, also with another learning rate or number of epochs. `told` hears of every epoch
    that ends, which is also a line on stderr.

    Raises:
        TorchfinchError: the network cannot travel in an archive, a class has no training image, the fit failed, another
            training has the checkpoints, or a file could not be written.
    """
    saved = runs / f"{recipe.name}{CHECKPOINTS}"
    try:
        with _keeping(saved), _replacing_run(runs / recipe.name) as folder:
            run = _fill(folder, recipe, config, saved=saved, resume=resume, told=told)
    except OSError as error:
        if error.errno is None:  # it is of a library and not of a file
            raise TorchfinchError(f"the recipe {recipe.name}: {error}") from error
        place = error.filename or runs
        raise TorchfinchError(f"{place} cannot be written: {error.strerror}", "choose another --runs") from error
    return replace(run, folder=runs / recipe.name)


def _fill(
    folder: Path, recipe: Recipe, config: Settings, *, saved: Path, resume: bool, told: Callable[[Epoch], object]
) -> Run:
    data, model, preprocessing = recipe.made(config)
    lineage = _lineage(recipe, config, data=data)
    described = {
        "task": "classification" if data.train is None or data.train.classified else "regression",
        "network": network.describe(model),
        "labels": list(data.labels),
        "preprocessing": preprocessing.to_dict(),
        "top_k": TOP_K,
        "lineage": lineage,
    }
    shutil.copyfile(network.source(model), folder / "model.py")
    checkpoints = Checkpoints(saved, identity=_identity(recipe, config, described=described))
    history = _fit(model, data, preprocessing, config, checkpoints=checkpoints, resume=resume, told=told)
    model.eval().cpu()
    evaluation = _evaluate(model, data, preprocessing=preprocessing)
    if evaluation:
        lineage["metrics"] = _metrics(evaluation)
        _write_json(folder / "evaluation.json", evaluation.to_dict())
    safetensors.save(model.state_dict(), folder / "weights.safetensors")
    _write_json(folder / "model.json", described)
    if history:
        lines = (json.dumps(asdict(epoch)) + "\n" for epoch in history)
        (folder / "history.jsonl").write_text("".join(lines), encoding="utf-8")
    golden = _write_golden(folder, data, described=described)
    return Run(folder=folder, history=history, evaluation=evaluation, golden=golden)


def _fit(
    model: nn.Module,
    data: Data,
    preprocessing: Preprocessing,
    config: Settings,
    *,
    checkpoints: Checkpoints,
    resume: bool,
    told: Callable[[Epoch], object],
) -> tuple[Epoch, ...]:
    if not isinstance(config, FitSettings):
        return ()
    check_every_class(data)

    def heard(epoch: Epoch) -> None:
        say(epoch)
        told(epoch)

    with checkpoints.told():
        history = fit(
            model,
            data,
            preprocessing=preprocessing,
            settings=config,
            checkpoints=checkpoints,
            resume=resume,
            told=heard,
        )
    return tuple(history)


@contextmanager
def _keeping(checkpoints: Path) -> Iterator[None]:
    """Keep a folder of checkpoints for this training alone, until its run is whole and needs them no more."""
    if rank():
        yield
        return
    with alone(checkpoints):
        yield
        for path in checkpoints.glob("*"):
            with suppress(OSError):  # what cannot be removed harms no run
                path.unlink()


def _evaluate(
    model: nn.Module, data: Data, *, preprocessing: Preprocessing
) -> Evaluation | RegressionEvaluation | None:
    if data.test is None:
        return None
    rows = outputs(model, data.test.pixels, preprocessing=preprocessing)  # (N, K)
    if data.test.classified:
        return evaluate(data.test.targets, rows.softmax(dim=1), labels=data.labels)
    return evaluate_regression(data.test.targets, rows)


def _metrics(evaluation: Evaluation | RegressionEvaluation) -> dict[str, float]:
    if isinstance(evaluation, Evaluation):
        return {"test_accuracy": evaluation.accuracy}
    return {"test_mae": evaluation.mae, "test_rmse": evaluation.rmse, "test_r2": evaluation.r2}


def _write_golden(folder: Path, data: Data, *, described: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    files = golden_files(data)
    (folder / "golden").mkdir()
    for name, body in files.items():
        (folder / "golden" / name).write_bytes(body)
    entries = golden_requests(files, folder, described=described)
    _write_json(folder / "golden" / "golden.json", entries)
    return tuple(entries)


def _lineage(recipe: Recipe, config: Settings, *, data: Data) -> dict[str, Any]:
    return {
        "recipe": recipe.name,
        "metrics": {},
        "data_digest": data.digest(),
        "git_revision": _git_revision(recipe.path),
        "seed": config.seed,
        "config": config.model_dump(mode="json"),
        "torch": torch.__version__,
    }


def _identity(recipe: Recipe, config: Settings, *, described: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same where a training goes on."""
    parts = {key: described[key] for key in ("network", "preprocessing")}
    settings = config.model_dump(mode="json", exclude={"device", "threads"})
    known = {key: described["lineage"][key] for key in ("recipe", "data_digest")}
    return {**known, "config": settings, **parts, "code": code_digest(recipe.path)}


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
    if rank():  # of the processes that train together, the first one writes
        with tempfile.TemporaryDirectory() as aside:
            yield Path(aside)
        return
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
