"""Where a study is kept, and what was left there by processes that died."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.distributions import distribution_to_json
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from torchfinch.errors import TorchfinchError, without_password
from torchfinch.tuning.problem import Problem
from torchfinch.tuning.space import Space

WORKER = "worker"
"""Attribute of a trial: the process that tries it."""
DIED = "died"
"""Attribute of a trial: its process died, so it does not count."""
INTERRUPTED = "interrupted"
"""Attribute of a trial: a person ended its process, so its death says nothing about it."""
_AGAIN = "again"
"""Attribute of a trial: the process that tried the same candidate before died."""
_STARTING = timedelta(minutes=5)
_QUESTION = "question"


def open_study(problem: Problem, space: Space, storage: str | None) -> optuna.Study:
    """The study of a problem, begun or gone on with; candidates whose process died are the next to be tried.

    Raises:
        TorchfinchError: the storage cannot be used, or holds a study of that name that asks something else.
    """
    with usable(storage):
        try:
            if storage:
                _make_folder(storage)
            study = optuna.create_study(
                study_name=problem.name, storage=storage, direction="maximize", load_if_exists=True
            )
        except (ImportError, OSError, ValueError) as error:
            raise _refused(storage, error) from error
        _same_question(study, problem, space)
        _bury(study)
    return study


def counts(trial: FrozenTrial) -> bool:
    """Whether it is one of the study's trials: neither to come, nor tried again as another one."""
    return trial.state is not TrialState.WAITING and not trial.user_attrs.get(DIED)


@contextmanager
def usable(storage: str | None) -> Iterator[None]:
    """What the database of the trials says against the block, as one line."""
    try:
        yield
    except (SQLAlchemyError, OptunaError) as error:
        raise _refused(storage, error) from error


def _refused(storage: str | None, error: Exception) -> TorchfinchError:
    shown = without_password(str(storage))
    if "database is locked" in f"{error} {error.__cause__}":
        return TorchfinchError(
            f"the storage {shown} is locked by another program",
            "wait until it has ended; the same command then goes on with the study",
        )
    return TorchfinchError(
        f"the storage {shown} cannot be used: {str(error).splitlines()[0]}", "such as sqlite:///tune.db"
    )


def this_process() -> str:
    """Host, number and beginning of this process: numbers are used again."""
    return _told(psutil.Process())


def _told(process: psutil.Process) -> str:
    return f"{socket.gethostname()} {process.pid} {process.create_time():.1f}"


def _make_folder(storage: str) -> None:
    url = make_url(storage)
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)


def _same_question(study: optuna.Study, problem: Problem, space: Space) -> None:
    asked = {f"search {name}": distribution_to_json(values) for name, values in space.items()}
    question = json.loads(json.dumps({**problem.identity, **asked}))
    if not study.get_trials(deepcopy=False):
        study.set_user_attr(_QUESTION, question)
    before: dict[str, Any] = study.user_attrs.get(_QUESTION, {})
    different = sorted(key for key in {**before, **question} if before.get(key) != question.get(key))
    if different:
        raise TorchfinchError(
            f"the study {study.study_name} was begun with another {different[0]}",
            "its trials cannot be compared with new ones: begin another study with --output or --storage",
        )


def _bury(study: optuna.Study) -> None:
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not _alive(trial):
            with suppress(UpdateFinishedTrialError):  # another command was first
                _bury_one(study, trial)


def _bury_one(study: optuna.Study, trial: FrozenTrial) -> None:
    """A candidate that killed its process twice counts as failed, else it would end every command."""
    again = trial.params and (trial.user_attrs.get(INTERRUPTED) or not trial.user_attrs.get(_AGAIN))
    known = (DIED, True) if again or not trial.params else ("note", "its process died twice")
    study._storage.set_trial_user_attr(trial._trial_id, *known)
    study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)  # refused if another command was first
    if again:
        study.enqueue_trial(trial.params, user_attrs={_AGAIN: not trial.user_attrs.get(INTERRUPTED)})


def _alive(trial: FrozenTrial) -> bool:
    worker = str(trial.user_attrs.get(WORKER, ""))
    if not worker:  # its values are being drawn, or its process died just then
        return trial.datetime_start is not None and datetime.now() - trial.datetime_start < _STARTING
    host, pid, _ = worker.split()
    if host != socket.gethostname():
        return True  # of another machine nothing is known
    try:
        return _told(psutil.Process(int(pid))) == worker
    except psutil.NoSuchProcess:
        return False
