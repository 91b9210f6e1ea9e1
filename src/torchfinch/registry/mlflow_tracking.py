"""A training as a run of MLflow: settings, epochs, scores, origin, the page, and the network itself."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pytorch
import numpy as np
import torch
from mlflow.exceptions import MlflowException

from torchfinch.console import err
from torchfinch.errors import TorchfinchError, without_password
from torchfinch.evaluation import load_model
from torchfinch.registry.connection import FAULTS, WEIGHTS, connect, experiment, told
from torchfinch.registry.record import Record, flat, read_record, unfinished_folder, weights_digest
from torchfinch.training import Epoch

Fill = Callable[[Path], object]
"""Writes files into a folder that is there."""
_KEPT = ("model.json", "history.jsonl", "evaluation.json")
_MOST = 100
"""Parameters in one request, by MLflow's rule."""


@contextmanager
def mlflow_tracking(
    uri: str, folder: Path, *, recipe: str, fill: Fill, settings: Mapping[str, Any]
) -> Iterator[Callable[[Epoch], None]]:
    """A run in the experiment `recipe` while the block leaves `folder`: FINISHED, KILLED by Ctrl-C, or FAILED.

    Raises:
        TorchfinchError: MLflow refused, before the block or after it; what the block left is unharmed.
    """
    client = connect(uri)
    with told(uri):
        run = mlflow.start_run(experiment_id=experiment(client, recipe)).info
    kept: dict[int, bool] = {}  # of each epoch that ended in the block

    def heard(epoch: Epoch) -> None:
        kept[epoch.epoch] = False
        with suppress(MlflowException):  # a tracker that fails stops no training; what is missing is kept at the end
            _log_epoch(asdict(epoch), run_id=run.run_id)
            kept[epoch.epoch] = True

    try:
        with told(uri):
            _log_parameters(dict(flat(settings)))
        with ThreadPoolExecutor(1) as apart:  # the main thread alone gets Ctrl-C, which would leave a database locked
            yield lambda epoch: apart.submit(heard, epoch).result()
    except BaseException as error:
        _abandon(uri, folder, kept, status="KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    try:
        with told(uri, f"torchfinch runs track {folder} tries again"):
            _log_record(read_record(folder), kept)
            _log_files(folder, fill)
            _log_network(folder)
            mlflow.set_tag(WEIGHTS, weights_digest(folder))
            mlflow.end_run("FINISHED")
    except BaseException:
        with suppress(MlflowException):
            mlflow.end_run("FAILED")
        raise
    place = f"in the experiment {recipe} of {without_password(uri)}"
    err.print(f"tracked as {run.run_name} {place}", markup=False, soft_wrap=True)


def _abandon(uri: str, folder: Path, kept: Mapping[int, bool], *, status: str) -> None:
    """Keep what is known of a training that did not end; what stopped it is told, not MLflow's own trouble."""
    unfinished = unfinished_folder(folder) if kept else None  # until an epoch ends, another training's may lie there
    try:
        with told(uri), _ended(status):
            if unfinished:
                _log_record(read_record(unfinished), kept)
    except TorchfinchError as error:
        err.print(f"not tracked: {error.message}", markup=False, soft_wrap=True)


@contextmanager
def _ended(status: str) -> Iterator[None]:
    try:
        yield
    finally:
        mlflow.end_run(status)


def _log_record(record: Record, kept: Mapping[int, bool]) -> None:
    _log_parameters({**record.settings, **record.network})
    commit = record.origin.get("git_revision")
    mlflow.set_tags({**record.origin, **({"mlflow.source.git.commit": commit} if commit else {})})
    for epoch in record.epochs:
        if not kept.get(epoch["epoch"]):
            _log_epoch(epoch)
    mlflow.log_metrics(dict(record.scores))


def _log_parameters(parameters: Mapping[str, Any]) -> None:
    named = list(parameters.items())
    for start in range(0, len(named), _MOST):
        mlflow.log_params(dict(named[start : start + _MOST]))


def _log_epoch(epoch: Mapping[str, Any], *, run_id: str | None = None) -> None:
    numbers = {name: epoch[name] for name in epoch if isinstance(epoch[name], float)}
    mlflow.log_metrics(numbers, step=epoch["epoch"], run_id=run_id)


def _log_files(folder: Path, fill: Fill) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        fill(Path(temporary))
        mlflow.log_artifacts(temporary)
    for name in _KEPT:
        if (folder / name).exists():
            mlflow.log_artifact(str(folder / name))


def _log_network(folder: Path) -> None:
    """As an exported graph: whoever loads it runs no code of ours, and needs none of it; nothing if torch cannot."""
    model = load_model(folder)
    example = np.zeros((2, model.preprocessing.channels, *model.preprocessing.size), np.float32)  # (N, C, H, W)
    needs = [f"torch=={torch.__version__.partition('+')[0]}"]
    try:
        mlflow.pytorch.log_model(
            model.network, name="model", input_example=example, serialization_format="pt2", pip_requirements=needs
        )
    except FAULTS:
        raise
    except Exception as error:  # noqa: BLE001 # torch.export raises what it likes
        why = (str(error).splitlines() or [type(error).__name__])[0]
        err.print(f"tracked without the network, which torch.export refuses: {why}", markup=False, soft_wrap=True)
