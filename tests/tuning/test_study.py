"""A study of real estimators: what is tried, what is given up, what is remembered."""

import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
import pytest
import torch
from optuna.storages import BaseStorage
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.svm import SVC
from tuning.dying import SPACE, problem

from torchfinch.errors import TorchfinchError
from torchfinch.training import Data, Images
from torchfinch.tuning import Problem, Sampler, Trial, estimator_problem, images_problem, read_space, tune
from torchfinch.tuning.storage import WORKER, open_study

C = {"C": "1e-3..1e3:log"}


class Sized(BaseEstimator):  # type: ignore[misc]
    """Its score is how many sizes it has, which are a tuple."""

    def __init__(self, sizes: tuple[int, ...] = ()) -> None:
        self.sizes = sizes

    def fit(self, _examples: object, _targets: object) -> "Sized":
        assert isinstance(self.sizes, tuple)
        return self

    def score(self, _examples: object, _targets: object) -> float:
        return len(self.sizes)


@pytest.fixture(scope="module")
def irises() -> Problem:
    return estimator_problem(SVC(), *load_iris(return_X_y=True))


def test_a_grid_search_finds_what_that_of_scikit_learn_finds(irises: Problem) -> None:
    points: dict[str, list[Any]] = {"C": [0.01, 1, 100], "kernel": ["rbf", "linear"]}
    tuned = tune(irises, read_space(points), sampler="grid", prune=False)

    theirs = GridSearchCV(SVC(), points, cv=StratifiedKFold(5, shuffle=True, random_state=0))
    theirs.fit(irises.examples, irises.targets)
    assert tuned.best.score == pytest.approx(theirs.best_score_)
    assert sorted(trial.score or 0 for trial in tuned.trials) == pytest.approx(
        sorted(theirs.cv_results_["mean_test_score"])
    )


def test_tuples_are_tried_and_kept_in_a_database_as_they_were_given(irises: Problem, tmp_path: Path) -> None:
    problem = estimator_problem(Sized(), irises.examples, irises.targets, folds=2)
    for trials in (1, 2):
        space = read_space({"sizes": "(50,),(100, 50)"})
        tuned = tune(problem, space, sampler="grid", trials=trials, storage=f"sqlite:///{tmp_path}/tune.db")

    assert {trial.values["sizes"]: trial.score for trial in tuned.trials} == {(50,): 1, (100, 50): 2}


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_numpy_does_not_take_is_told(irises: Problem, seed: int) -> None:
    with pytest.raises(TorchfinchError, match=rf"the seed is {seed} .*0 to 4294967295"):
        estimator_problem(SVC(), *load_iris(return_X_y=True), seed=seed)
    with pytest.raises(TorchfinchError, match=rf"the seed is {seed} "):
        tune(irises, read_space(C), trials=1, seed=seed)


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp"])
def test_also_with_the_largest_seed_a_study_goes_on(irises: Problem, sampler: Sampler, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/tune.db"
    for trials in (1, 2):
        tuned = tune(irises, read_space(C), sampler=sampler, trials=trials, seed=2**32 - 1, storage=storage)
        assert len(tuned.trials) == trials


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_every_sampler_finds_a_good_candidate_and_says_what_mattered(irises: Problem, sampler: Sampler) -> None:
    space = {"C": "1,1000", "gamma": "1e-5,1e-4,1e-3,0.1"} if sampler == "grid" else {**C, "gamma": "1e-5..1.0:log"}
    tuned = tune(irises, read_space(space), sampler=sampler, trials=16)

    assert tuned.best.score == max(trial.score for trial in tuned.trials if trial.state == "complete" and trial.score)
    assert tuned.best.score >= 0.95
    assert set(tuned.importances) == {"C", "gamma"}
    assert sum(tuned.importances.values()) == pytest.approx(1)


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_where_there_are_no_more_points_than_trials_each_is_tried_once(
    irises: Problem, tmp_path: Path, sampler: Sampler, capsys: pytest.CaptureFixture[str]
) -> None:
    space, storage = read_space({"C": "1,10", "kernel": "rbf,linear"}), f"sqlite:///{tmp_path}/tune.db"
    tune(irises, space, sampler=sampler, trials=4, storage=storage)
    tuned = tune(irises, space, sampler=sampler, storage=storage)

    assert sorted((trial.values["C"], trial.values["kernel"]) for trial in tuned.trials) == [
        (1, "linear"),
        (1, "rbf"),
        (10, "linear"),
        (10, "rbf"),
    ]
    said = capsys.readouterr().err
    assert "4 of 4 trials are to come, every point" in said
    assert "0 of 4 trials are to come" in said


def test_the_same_seed_tries_the_same_candidates(irises: Problem) -> None:
    first, second, other = (tune(irises, read_space(C), trials=12, seed=seed) for seed in (1, 1, 2))

    assert [trial.values for trial in first.trials] == [trial.values for trial in second.trials]
    assert [trial.values for trial in first.trials] != [trial.values for trial in other.trials]


def test_a_candidate_below_the_median_is_given_up_after_two_folds(irises: Problem) -> None:
    good = [0.1, 0.2, 0.3, 0.4, 0.5]
    spaces = [read_space({"gamma": [*good[:place], 1e6, *good[place:]]}) for place in range(6)]
    lasts = [tune(irises, space, sampler="grid").trials[-1] for space in spaces]

    bad = next(last for last in lasts if last.values["gamma"] == 1e6)
    assert (bad.state, len(bad.scores)) == ("pruned", 2)
    assert bad.score == pytest.approx(sum(bad.scores) / 2)
    assert tune(irises, spaces[0], sampler="grid", prune=False).count("pruned") == 0


class Learning(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Is right on `good` of ten examples after every epoch, and tells of its epochs."""

    seen: ClassVar[dict[int, int]] = {}
    """The last epoch, by `good`."""

    def __init__(self, good: int = 1, epochs: int = 10) -> None:
        self.good = good
        self.epochs = epochs

    def fit(self, X: np.ndarray, y: np.ndarray, told: Callable[[int], object] = lambda _epoch: None) -> "Learning":  # noqa: N803
        self.classes_ = np.unique(y)
        for epoch in range(1, self.epochs + 1):
            self.seen[self.good] = epoch
            told(epoch)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:  # noqa: N803
        return (np.arange(len(X)) < self.good).astype(int)


@pytest.mark.parametrize(("epochs", "last"), [(10, 4), (3, 2)])
def test_where_it_is_fitted_once_a_candidate_is_given_up_after_a_third_of_its_epochs(epochs: int, last: int) -> None:
    once = Images(torch.zeros((10, 1, 2, 2), dtype=torch.uint8), torch.ones(10, dtype=torch.int64))
    data = Data(labels=("a", "b"), train=once, validation=once)
    learning = images_problem(Learning(epochs=epochs), data, name="learning")
    spaces = [read_space({"good": [*range(5, 10)[:place], 1, *range(5, 10)[place:]]}) for place in range(6)]
    lasts = [(tune(learning, space, sampler="grid").trials[-1], Learning.seen[1]) for space in spaces]

    bad, seen = next(each for each in lasts if each[0].values["good"] == 1)
    assert (bad.state, bad.scores, seen) == ("pruned", (0.1,), last)
    assert tune(learning, spaces[0], sampler="grid", prune=False).count("pruned") == 0


def test_a_candidate_that_fails_is_noted_and_the_study_goes_on(irises: Problem) -> None:
    tuned = tune(irises, read_space({"C": [1, -1], "kernel": ["rbf", "linear"]}), sampler="grid")

    failed = [trial for trial in tuned.trials if trial.state == "failed"]
    assert [trial.values["C"] for trial in failed] == [-1, -1]
    assert "'C' parameter of SVC must be a float" in failed[0].note
    assert tuned.best.values["C"] == 1
    assert tuned.ranked[-2:] == tuple(sorted(failed, key=lambda trial: trial.number))


def test_a_study_whose_candidates_all_fail_says_why(irises: Problem) -> None:
    with pytest.raises(TorchfinchError, match=r"none of 2 trials is complete \(hint: .*parameter of SVC must be"):
        tune(irises, read_space({"C": [-1, -2]}), sampler="grid")


def test_a_score_that_is_no_number_is_a_failure() -> None:
    class Lost(BaseEstimator):  # type: ignore[misc]
        def __init__(self, quantile: float = 0) -> None:
            self.quantile = quantile

        def fit(self, *_: object) -> None:
            pass

        def score(self, *_: object) -> float:
            return float("nan")

    line = estimator_problem(Lost(), np.zeros((6, 1)), np.arange(6.0), folds=2)
    with pytest.raises(TorchfinchError, match="the score is nan in fold 1"):
        tune(line, read_space({"quantile": [0.5]}), sampler="grid")


def test_what_the_estimator_does_not_take_is_told_before_anything_is_tried(irises: Problem) -> None:
    heard: list[Trial] = []
    with pytest.raises(TorchfinchError, match=r"SVC has no parameter 'c' \(hint: did you mean C\?"):
        tune(irises, read_space({"c": "1,2"}), told=heard.append)
    unknown = estimator_problem(SVC(), irises.examples, irises.targets, metric="acuracy")
    with pytest.raises(TorchfinchError, match="there is no metric 'acuracy'"):
        tune(unknown, read_space(C), told=heard.append)
    with pytest.raises(TorchfinchError, match="2 processes need a storage that they share"):
        tune(irises, read_space(C), jobs=2, told=heard.append)
    assert not heard


def test_folds_that_the_examples_do_not_fill_are_refused() -> None:
    with pytest.raises(TorchfinchError, match="no 3 folds of 2 examples of the rarest class"):
        estimator_problem(SVC(), np.zeros((6, 1)), np.array([0, 0, 0, 0, 1, 1]), folds=3)


def test_a_stored_study_goes_on_with_new_candidates(irises: Problem, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/new/tune.db"
    heard: list[Trial] = []
    tune(irises, read_space(C), trials=3, sampler="random", storage=storage)
    tuned = tune(irises, read_space(C), trials=6, sampler="random", storage=storage, told=heard.append)

    assert [trial.number for trial in heard] == [3, 4, 5]
    assert len({trial.values["C"] for trial in tuned.trials}) == 6
    assert tune(irises, read_space(C), trials=6, storage=storage, told=heard.append) == tuned
    assert len(heard) == 3


@pytest.mark.slow
def test_a_study_of_text_goes_on_in_another_process(tmp_path: Path) -> None:
    script = """
import sys
import numpy as np
from sklearn.svm import SVC
from torchfinch.tuning import estimator_problem, read_space, tune

targets = np.array([f"class {number % 2}" for number in range(20)], dtype=object)
problem = estimator_problem(SVC(), np.arange(40.0).reshape(20, 2), targets, folds=2)
tuned = tune(problem, read_space({"C": "0.1..10:log"}), trials=int(sys.argv[2]), storage=sys.argv[1])
print(len(tuned.trials))
"""
    for trials in ("1", "2"):
        command = [sys.executable, "-c", script, f"sqlite:///{tmp_path}/tune.db", trials]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.stdout == f"{trials}\n", done.stderr


def test_a_stored_study_of_another_question_is_refused(irises: Problem, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/tune.db"
    tune(irises, read_space(C), trials=1, storage=storage)

    with pytest.raises(TorchfinchError, match="begun with another search C"):
        tune(irises, read_space({"C": "1,2"}), storage=storage)
    fewer = estimator_problem(SVC(), irises.examples[1:], irises.targets[1:])
    with pytest.raises(TorchfinchError, match="begun with another data"):
        tune(fewer, read_space(C), storage=storage)


@pytest.mark.parametrize("storage", ["tune.db", "sqlite:///{}/torn.db", "sqlite:////proc/tune.db", "postgresql://x/y"])
def test_a_storage_that_cannot_be_used_is_told(irises: Problem, tmp_path: Path, storage: str) -> None:
    (tmp_path / "torn.db").write_text("no database" * 100)

    with pytest.raises(TorchfinchError, match=r"the storage .* cannot be used"):
        tune(irises, read_space(C), storage=storage.format(tmp_path))


@pytest.mark.parametrize("password", ["secret", "sec/ret", "sec@ret"])
def test_a_password_in_the_storage_is_not_told(irises: Problem, password: str) -> None:
    with pytest.raises(TorchfinchError, match=r"the storage oddsql://\*\*\*@db/x cannot be used") as told:
        tune(irises, read_space(C), storage=f"oddsql://user:{password}@db/x")
    assert "ret" not in str(told.value)


def test_an_at_sign_in_a_file_s_name_is_told(irises: Problem, tmp_path: Path) -> None:
    (tmp_path / "a@b").write_text("no database" * 100)
    with pytest.raises(TorchfinchError, match=f"sqlite:///{tmp_path}/a@b cannot be used"):
        tune(irises, read_space(C), storage=f"sqlite:///{tmp_path}/a@b")


@pytest.mark.slow
def test_a_killed_study_goes_on_and_tries_again_what_was_under_way(tmp_path: Path) -> None:
    storage, mark = f"sqlite:///{tmp_path}/tune.db", tmp_path / "mark"
    script = [sys.executable, str(Path(__file__).parent / "dying.py"), storage, str(mark)]
    with subprocess.Popen(script) as process:
        while not mark.exists() and process.poll() is None:
            time.sleep(0.1)
        process.kill()

    tuned = tune(problem(), read_space(SPACE), sampler="grid", storage=storage)
    assert {trial.state for trial in tuned.trials} == {"complete"}
    assert sorted(trial.values["size"] for trial in tuned.trials) == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_candidate_that_kills_its_process_twice_counts_as_failed(tmp_path: Path) -> None:
    storage, mark = f"sqlite:///{tmp_path}/tune.db", tmp_path / "mark"
    script = [sys.executable, str(Path(__file__).parent / "dying.py"), storage, str(mark)]
    for _ in range(2):
        mark.unlink(missing_ok=True)
        with subprocess.Popen(script) as process:
            while not mark.exists() and process.poll() is None:
                time.sleep(0.1)
            process.kill()

    tuned = tune(problem(str(mark)), read_space(SPACE), sampler="grid", storage=storage)
    [failed] = [trial for trial in tuned.trials if trial.note]
    assert (failed.values["size"], failed.note) == (2, "its process died twice")
    assert sorted(trial.values["size"] for trial in tuned.trials if trial.state == "complete") == [1, 3, 4]


def test_a_trial_that_another_command_has_just_begun_is_left_to_it(irises: Problem, tmp_path: Path) -> None:
    space, storage = read_space({"C": "0.1..10:log"}), f"sqlite:///{tmp_path}/tune.db"
    begun = open_study(irises, space, storage).ask(dict(space))  # and its worker is not written down yet
    open_study(irises, space, storage)

    begun.study.tell(begun, 0.5)
    assert [trial.state.name for trial in begun.study.trials] == ["COMPLETE"]


def test_of_two_commands_that_find_a_dead_one_s_trial_both_go_on_and_one_copy_is_to_be_tried(
    irises: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, storage = read_space(C), f"sqlite:///{tmp_path}/tune.db"
    study = open_study(irises, space, storage)
    study.ask(dict(space)).set_user_attr(WORKER, f"{socket.gethostname()} {2**31 - 1} 0.0")
    kept = type(study._storage)
    mark = kept.set_trial_user_attr

    def overtaken(self: BaseStorage, trial: int, key: str, value: object) -> None:
        mark(self, trial, key, value)
        monkeypatch.undo()
        open_study(irises, space, storage)

    monkeypatch.setattr(kept, "set_trial_user_attr", overtaken)
    assert [trial.state.name for trial in open_study(irises, space, storage).trials] == ["FAIL", "WAITING"]


def test_commands_that_share_a_study_try_no_more_than_is_wanted(irises: Problem, tmp_path: Path) -> None:
    space, storage = read_space({"C": "0.1..10:log"}), f"sqlite:///{tmp_path}/tune.db"

    def another(trial: Trial) -> None:
        if not trial.number:
            tune(irises, space, trials=3, storage=storage)

    assert len(tune(irises, space, trials=4, storage=storage, told=another).trials) == 4


def test_images_of_one_group_are_in_one_fold() -> None:
    groups = torch.arange(24) // 4
    pixels, targets = torch.zeros(24, 1, 2, 2).byte(), torch.arange(24) % 2
    images = Images(pixels, targets, groups)
    data = Data(labels=("a", "b"), train=images[:16], validation=images[16:])
    question = images_problem(SVC(), data, name="groups", folds=3)

    for learn, judge in question.splits:
        assert not set(groups[learn].tolist()) & set(groups[judge].tolist())
    with pytest.raises(TorchfinchError, match="no 7 folds of 6 examples"):
        images_problem(SVC(), data, name="groups", folds=7)


@pytest.mark.slow
def test_processes_share_a_study_and_no_candidate_is_tried_twice(irises: Problem, tmp_path: Path) -> None:
    points = read_space({"C": [0.01, 0.1, 1, 10], "kernel": ["rbf", "linear"]})
    shared = tune(irises, points, sampler="grid", jobs=2, storage=f"sqlite:///{tmp_path}/tune.db", prune=False)

    alone = tune(irises, points, sampler="grid", prune=False)
    tried = [sorted((str(trial.values), trial.score) for trial in tuned.trials) for tuned in (shared, alone)]
    assert tried[0] == tried[1]


def test_a_database_that_another_program_has_locked_is_told_at_the_beginning_and_later(
    irises: Problem, tmp_path: Path
) -> None:
    storage = f"sqlite:///{tmp_path}/tune.db?timeout=0"
    said = "is locked by another program .*the same command then goes on with the study"

    with closing(sqlite3.connect(tmp_path / "tune.db", isolation_level=None)) as other:

        def lock(_trial: Trial) -> None:
            other.execute("BEGIN EXCLUSIVE")

        with pytest.raises(TorchfinchError, match=said):
            tune(irises, read_space(C), trials=2, storage=storage, told=lock)
        with pytest.raises(TorchfinchError, match=said):
            tune(irises, read_space(C), trials=2, storage=storage)
    assert len(tune(irises, read_space(C), trials=2, storage=storage).trials) == 2
