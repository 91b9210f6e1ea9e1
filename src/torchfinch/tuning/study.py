"""The study: choose a candidate, try it, remember how it did, as often as was asked for.

Optuna chooses and remembers. Everything lies in its storage, so that a study whose process was killed goes on.
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import count
from typing import Literal

import optuna
from optuna.pruners import MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, GridSampler, RandomSampler, TPESampler
from optuna.trial import TrialState
from sklearn.utils.parallel import Parallel, delayed

from torchfinch.console import err
from torchfinch.errors import TorchfinchError
from torchfinch.evaluation.estimators import check_seed
from torchfinch.tuning.problem import Problem
from torchfinch.tuning.result import Trial, Tuned, read_study, read_trial
from torchfinch.tuning.space import Space, drawn, ends, grid, points
from torchfinch.tuning.storage import INTERRUPTED, WORKER, counts, open_study, this_process, usable

Sampler = Literal["grid", "random", "tpe", "gp"]
"""Every point; at random; tree-structured Parzen estimator; Gaussian process."""

TRIALS = 20
"""Unless asked for another number, or where there are no more points."""


def tune(
    problem: Problem,
    space: Space,
    *,
    sampler: Sampler = "tpe",
    trials: int | None = None,
    prune: bool = True,
    seed: int = 0,
    storage: str | None = None,
    jobs: int = 1,
    told: Callable[[Trial], None] = lambda _trial: None,
) -> Tuned:
    """Try candidates until the study has `trials` of them, by default 20 or the whole grid.

    A space of no more points than that is tried as a grid, whatever the `sampler`: a draw would repeat some.

    A study of that name in `storage` (a database, as `sqlite:///tune.db`) goes on: its trials count, and those whose
    process died are tried again, once. Several commands may share it. Without a storage the study ends with the call.
    `jobs` processes try candidates at once, which needs a storage; `told` hears of every trial that ends. With one
    process the same seed gives the same candidates.

    With `prune`, a candidate is given up after a fold if the best mean of its scores is below the median of the others'
    at that fold, from the sixth trial and the second fold on. Where there is one fitting, and the estimator's `fit`
    tells of its epochs, the same goes for the score after an epoch, from a third of its `epochs` on. A candidate that
    fails is noted, and the study goes on.

    Raises:
        TorchfinchError: a value is one that the estimator cannot take, the storage cannot be
            used or holds a study of another question, or no trial was complete.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    check_seed(seed)
    _check(problem, space)
    if jobs > 1 and not storage:
        raise TorchfinchError(f"{jobs} processes need a storage that they share", "such as sqlite:///tune.db")
    study = open_study(problem, space, storage)
    known = study.get_trials(deepcopy=False)
    sampler, wanted = _planned(sampler, space, trials, gridded=all(map(_of_grid, known)))
    going_on = (seed + len(known)) % 2**32  # the seed alone would repeat the beginning
    study.sampler = _sampler(sampler, space, seed=going_on)
    study.pruner = MedianPruner() if prune else NopPruner()
    parallel = Parallel(n_jobs=jobs, pre_dispatch=jobs, return_as="generator_unordered")
    coming = max(0, wanted - _counted(study))
    err.print(f"{coming} of {wanted} trials are to come{', every point' if sampler == 'grid' else ''}")
    with usable(storage), _killed_told():
        for trial in parallel(delayed(_try)(problem, asked) for asked in _ask(study, space, wanted)):
            told(trial)
        tuned = read_study(study, problem.metric)
    assert tuned.best
    return tuned


def _check(problem: Problem, space: Space) -> None:
    """Every end of every range is taken by the estimator, and the metric exists, before anything is tried."""
    for name, values in space.items():
        for value in ends(values):
            problem.scorer(problem.candidate({name: value}))


def _planned(sampler: Sampler, space: Space, trials: int | None, *, gridded: bool) -> tuple[Sampler, int]:
    """The sampler, and how many trials there are to be; `gridded`: those that there are, if any, are of a grid."""
    wanted = TRIALS if trials is None else trials
    if sampler != "grid" and not (gridded and points(space) <= wanted):
        return sampler, wanted
    whole = math.prod(map(len, grid(space).values()))
    return "grid", whole if trials is None else min(trials, whole)


def _of_grid(trial: optuna.trial.FrozenTrial) -> bool:
    return not {"grid_id", "fixed_params"}.isdisjoint(trial.system_attrs)


def _sampler(name: Sampler, space: Space, *, seed: int) -> BaseSampler:
    if name == "grid":
        return _Grid(grid(space))  # one order for ever, since a trial's number is its place in it
    if name == "random":
        return RandomSampler(seed=seed)
    return GPSampler(seed=seed) if name == "gp" else TPESampler(seed=seed)


class _Grid(GridSampler):
    """Optuna's, but it does not stop `Study.optimize` at its end: here the number of trials does."""

    def after_trial(self, *_args: object) -> None:
        pass


def _ask(study: optuna.Study, space: Space, wanted: int) -> Iterator[optuna.Trial]:
    """Lazily: the next candidate is chosen when a process is free, from all that is known then, in any process."""
    while _counted(study) < wanted:
        trial = study.ask(dict(space))
        trial.set_user_attr(WORKER, this_process())
        yield trial


def _counted(study: optuna.Study) -> int:
    return sum(map(counts, study.get_trials(deepcopy=False)))


def _try(problem: Problem, trial: optuna.Trial) -> Trial:
    trial.set_user_attr(WORKER, this_process())
    score, state = None, TrialState.COMPLETE
    try:
        with _silence():
            score = _score(problem, trial)
    except optuna.TrialPruned:
        state = TrialState.PRUNED
    except KeyboardInterrupt:
        trial.set_user_attr(INTERRUPTED, True)
        raise
    except Exception as error:  # noqa: BLE001 # whatever it fails with, the others are still to be tried
        trial.set_user_attr("note", str(error) if isinstance(error, TorchfinchError) else repr(error))
        state = TrialState.FAIL
    return read_trial(trial.study.tell(trial, score, state))


def _score(problem: Problem, trial: optuna.Trial) -> float:
    """The mean over the folds; what is known after each, or after each epoch, is kept and decides whether to go on."""
    steps, scores, mean, values = count(1), [], math.nan, drawn(trial.params)
    patience = problem.patience(values)

    def told(score: float) -> None:
        step = next(steps)
        _keep(trial, [score], step=step)
        if step >= patience and trial.should_prune():
            raise optuna.TrialPruned

    for score in problem.scores(values, told):
        scores.append(score)
        mean = _keep(trial, scores, step=next(steps))
        if patience <= len(scores) < len(problem.splits) and trial.should_prune():
            raise optuna.TrialPruned
    return mean


def _keep(trial: optuna.Trial, scores: list[float], *, step: int) -> float:
    mean = sum(scores) / len(scores)
    if not math.isfinite(mean):
        raise TorchfinchError(f"the score is {mean} in fold {len(scores)}")
    trial.set_user_attr("scores", scores)
    trial.report(mean, step=step)
    return mean


@contextmanager
def _killed_told() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise TorchfinchError(
            "a process that tried a candidate was killed, perhaps for want of memory",
            "the same command goes on with the study; fewer --jobs take less memory",
        ) from error


@contextmanager
def _silence() -> Iterator[None]:
    """No word of single trainings: there are many, at once in several processes."""
    before, err.quiet = err.quiet, True
    try:
        yield
    finally:
        err.quiet = before
