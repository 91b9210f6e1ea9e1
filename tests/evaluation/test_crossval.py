"""Cross-validation trains on all folds but one, keeps what is finished, and says what it cannot do."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier

from torchfinch.errors import TorchfinchError
from torchfinch.evaluation import cross_validate, load_estimator, read_cross_validation


class Counted(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Answers the class seen most often, and counts its trainings; `bad` makes it fail or give NaN."""

    trainings = 0

    def __init__(self, bad: str = "", power: float = 1.0) -> None:
        self.bad = bad
        self.power = power

    def fit(self, X: Any, y: Any) -> "Counted":  # noqa: N803
        if self.bad == "late" and Counted.trainings == 2:
            raise ValueError("no more")
        if self.bad == "stopped" and Counted.trainings == 2:
            raise KeyboardInterrupt
        Counted.trainings += 1
        self.classes_, counts = np.unique(y, return_counts=True)
        self.answer_ = self.classes_[counts.argmax()]
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803
        return np.full(len(X), self.answer_)

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        row = np.full(len(self.classes_), np.nan if self.bad == "nan" else 1 / len(self.classes_))
        return np.tile(row, (len(X), 1))


@pytest.fixture(autouse=True)
def _no_trainings() -> None:
    Counted.trainings = 0


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """300 of scikit-learn's digits, uint8 (N, 8, 8)."""
    images, targets = load_digits(return_X_y=True)
    return np.round(images[:300] * 255 / 16).astype(np.uint8).reshape(-1, 8, 8), targets[:300]


IMAGES = np.zeros((30, 1, 2, 2), np.uint8)
TARGETS = np.arange(30) % 3


@pytest.mark.parametrize("stratified", [True, False])
def test_the_scores_are_scikit_learns_on_the_same_folds(
    digits: tuple[np.ndarray, np.ndarray], *, stratified: bool
) -> None:
    images, targets = digits
    result = cross_validate(
        load_estimator("sklearn.neighbors.KNeighborsClassifier", {"n_neighbors": "3"}),
        images,
        targets,
        folds=4,
        stratified=stratified,
        seed=5,
    )
    folds = (StratifiedKFold if stratified else KFold)(4, shuffle=True, random_state=5)
    expected = cross_val_score(KNeighborsClassifier(3), images.reshape(300, -1) / 255, targets, cv=folds)

    np.testing.assert_allclose(result.scores("accuracy"), expected)
    assert result.mean("accuracy") == pytest.approx(expected.mean())
    assert result.sd("accuracy") == pytest.approx(expected.std(ddof=1))
    assert [(fold.trained_on, fold.tested_on) for fold in result.folds] == [(225, 75)] * 4
    assert result.test_share == pytest.approx(1 / 3)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_numpy_does_not_take_is_told(seed: int) -> None:
    with pytest.raises(TorchfinchError, match=rf"the seed is {seed} .*0 to 4294967295"):
        cross_validate(Counted(), IMAGES, TARGETS, folds=2, seed=seed)


def test_the_largest_seed_is_taken() -> None:
    assert len(cross_validate(Counted(), IMAGES, TARGETS, folds=2, seed=2**32 - 1).folds) == 2


def test_a_stratified_fold_has_every_class_as_often() -> None:
    targets = np.array([0] * 24 + [1] * 6)
    result = cross_validate(Counted(), IMAGES, targets, folds=3)

    assert result.scores("accuracy").tolist() == pytest.approx([0.8, 0.8, 0.8])
    assert result.scores("balanced_accuracy").tolist() == pytest.approx([0.5, 0.5, 0.5])
    assert result.scores("cross_entropy").tolist() == pytest.approx([np.log(2)] * 3)


def test_a_regressor_is_scored_by_its_errors() -> None:
    random = np.random.default_rng(0)
    features, targets = random.normal(size=(60, 3)), random.normal(size=60)
    result = cross_validate(Ridge(), features, targets, folds=3)

    assert result.metrics == ("r2", "mae", "rmse")
    assert not result.plan.stratified


def test_the_seed_reaches_an_estimator_that_has_none(digits: tuple[np.ndarray, np.ndarray]) -> None:
    network = MLPClassifier((4,), max_iter=2, early_stopping=False, solver="lbfgs", alpha=1e3, tol=1e9)
    images, targets = digits[0].reshape(300, -1), digits[1]
    once, again = (cross_validate(network, images, targets, folds=2, seed=3) for _ in range(2))

    assert once.scores("cross_entropy").tolist() == again.scores("cross_entropy").tolist()
    assert once.plan.parameters["random_state"] == 3


def test_finished_folds_are_not_trained_again(tmp_path: Path) -> None:
    whole = cross_validate(Counted(), IMAGES, TARGETS, folds=5)
    Counted.trainings = 0
    with pytest.raises(TorchfinchError, match="fold 3: ValueError: no more"):
        cross_validate(Counted("late"), IMAGES, TARGETS, folds=5, folder=tmp_path)
    with pytest.raises(TorchfinchError, match="holds 2 of 5 folds"):
        read_cross_validation(tmp_path)
    Counted.trainings = 3
    finished = cross_validate(Counted("late"), IMAGES, TARGETS, folds=5, folder=tmp_path)

    assert Counted.trainings == 6  # three, not five
    assert finished.scores("accuracy").tolist() == whole.scores("accuracy").tolist()
    assert read_cross_validation(tmp_path) == finished


def test_ctrl_c_says_which_folds_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        cross_validate(Counted("stopped"), IMAGES, TARGETS, folds=3, folder=tmp_path / "cv")

    assert (
        f"folds 1, 2 are kept in {tmp_path / 'cv'}; the same command goes on with the others" in capsys.readouterr().err
    )


@pytest.mark.parametrize("change", ["parameter", "data", "folds", "seed", "code"])
def test_whatever_changes_the_scores_begins_afresh(tmp_path: Path, change: str) -> None:
    def run(estimator: Counted, targets: np.ndarray = TARGETS, **how: Any) -> None:
        cross_validate(estimator, IMAGES, targets, **{"folds": 3, "folder": tmp_path, **how})

    run(Counted())
    run(Counted())
    assert Counted.trainings == 3
    if change == "parameter":
        run(Counted(power=2.0))
    elif change == "data":
        run(Counted(), (TARGETS + 1) % 3)
    else:
        changed: dict[str, Any] = {change: {"folds": 2, "seed": 1, "code": "new"}[change]}
        run(Counted(), **changed)
    assert Counted.trainings == 3 + (2 if change == "folds" else 3)


TERMINAL = """
import numpy as np
from sklearn.dummy import DummyClassifier
from torchfinch.evaluation import cross_validate

cross_validate(DummyClassifier(), np.zeros((30, 2)), np.arange(30) % 3, folds=3)
"""


def on_a_terminal(*words: str) -> str:
    """What a command sends to a terminal."""
    parent, child = pty.openpty()
    with subprocess.Popen(words, stdin=child, stdout=child, stderr=child, close_fds=True):
        os.close(child)
        written = b""
        with suppress(OSError), os.fdopen(parent, "rb", buffering=0) as stream:  # at its end a terminal has an error
            while part := stream.read(4096):
                written += part
    return written.decode()


PANDAS = """
import sys
from pathlib import Path
import numpy as np
from sklearn.dummy import DummyClassifier
from torchfinch.evaluation import cross_validate

targets = np.array([f"class {number % 3}" for number in range(30)], dtype=object)
cross_validate(DummyClassifier(), np.zeros((30, 2)), targets, folds=3, folder=Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_folds_of_text_that_another_process_finished_are_not_trained_again(tmp_path: Path) -> None:
    commands = [[sys.executable, "-c", PANDAS, str(tmp_path)]] * 2
    first, again = (subprocess.run(each, check=True, capture_output=True, text=True).stderr for each in commands)

    assert "holds" not in first
    assert "holds 3 of 3 folds already" in again


def test_a_fold_that_is_no_json_is_trained_again(tmp_path: Path) -> None:
    cross_validate(Counted(), IMAGES, TARGETS, folds=3, folder=tmp_path)
    (tmp_path / "fold-2.json").write_text('{"number": 2, "tra')
    cross_validate(Counted(), IMAGES, TARGETS, folds=3, folder=tmp_path)

    assert Counted.trainings == 4
    assert json.loads((tmp_path / "fold-2.json").read_text())["tested_on"] == 10


def test_folds_that_another_cross_validation_wrote_meanwhile_are_trained_again(tmp_path: Path) -> None:
    cross_validate(Counted(), IMAGES, TARGETS, folds=3, folder=tmp_path)
    cross_validate(Counted(power=2.0), IMAGES, TARGETS, folds=3, folder=tmp_path / "other")
    (tmp_path / "other" / "fold-2.json").replace(tmp_path / "fold-2.json")
    with pytest.raises(TorchfinchError, match="holds 2 of 3 folds"):
        read_cross_validation(tmp_path)
    cross_validate(Counted(), IMAGES, TARGETS, folds=3, folder=tmp_path)

    assert Counted.trainings == 7
    assert len(read_cross_validation(tmp_path).folds) == 3


def test_what_a_killed_command_left_half_written_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".crossval.json.abcd").write_text("{")

    assert len(cross_validate(Counted(), IMAGES, TARGETS, folds=3, folder=tmp_path).folds) == 3


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "fold-1.json").write_text("mine")
    with pytest.raises(TorchfinchError, match="holds no cross-validation"):
        cross_validate(Counted(), IMAGES, TARGETS, folder=tmp_path)
    assert (tmp_path / "fold-1.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("targets", "folds", "said"),
    [
        ([0] * 28 + [1] * 2, 5, "class 1 has 2 images, fewer than 5 folds"),
        ([0] * 30, 31, "30 images make no 31 folds"),
        ([0] * 30, 1, "30 images make no 1 folds"),
    ],
)
def test_too_few_images_are_named(targets: list[int], folds: int, said: str) -> None:
    with pytest.raises(TorchfinchError, match=said):
        cross_validate(Counted(), IMAGES, targets, folds=folds)


def test_nan_probabilities_are_named_with_their_fold() -> None:
    with pytest.raises(TorchfinchError, match="fold 1: the probabilities hold NaN"):
        cross_validate(Counted("nan"), IMAGES, TARGETS)


class Failing(Counted):
    """Raises what it is told when it is asked, or does not know its classes."""

    def __init__(self, error: type[Exception] | None = None) -> None:
        super().__init__()
        self.error = error

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        if self.error:
            raise self.error("of the estimator")
        rows = super().predict_proba(X)
        del self.classes_
        return rows


@pytest.mark.parametrize("error", [IndexError, KeyError, AttributeError, ZeroDivisionError, NotImplementedError])
def test_whatever_an_estimator_raises_is_one_line_with_the_fold(error: type[Exception]) -> None:
    with pytest.raises(TorchfinchError, match=f"fold 1: {error.__name__}: '?of the estimator"):
        cross_validate(Failing(error), IMAGES, TARGETS)


def test_probabilities_of_unknown_classes_are_told() -> None:
    with pytest.raises(
        TorchfinchError, match=r"fold 1: the estimator has predict_proba and no classes_ .*numpy.unique"
    ):
        cross_validate(Failing(), IMAGES, TARGETS)


@pytest.mark.slow
def test_the_line_of_every_fold_stays_on_a_terminal() -> None:
    sent = on_a_terminal(sys.executable, "-c", TERMINAL)

    assert re.findall(r"(?:^|\r|\x1b\[2K)fold (\d): accuracy .* s\r\n", sent) == ["1", "2", "3"]


def test_a_class_that_only_the_test_has_costs_its_images_alone() -> None:
    targets = np.array([0] * 29 + [1])
    result = cross_validate(Counted(), IMAGES, targets, folds=3, stratified=False)

    assert sorted(result.scores("accuracy").tolist()) == pytest.approx([0.9, 1, 1])
    assert np.isfinite(result.scores("cross_entropy")).all()


class Sure(Counted):
    """Gives the first class all of the probability."""

    def __init__(self, kind: type = np.float64) -> None:
        super().__init__()
        self.kind = kind

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        return np.tile(np.array([1, 0], self.kind), (len(X), 1))


def test_a_wrong_answer_costs_the_same_in_single_and_double_precision() -> None:
    single, double = (cross_validate(Sure(kind), IMAGES, np.arange(30) % 2) for kind in (np.float32, np.float64))

    assert single.scores("cross_entropy").tolist() == double.scores("cross_entropy").tolist()


@pytest.mark.slow
def test_parallel_processes_find_what_one_finds(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, targets = digits
    neighbours = load_estimator("sklearn.neighbors.KNeighborsClassifier", {})
    one, two = (cross_validate(neighbours, images, targets, folds=3, jobs=jobs) for jobs in (1, 2))

    assert [fold.scores for fold in one.folds] == [fold.scores for fold in two.folds]


def test_the_test_images_of_a_fold_are_not_trained_on() -> None:
    images = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1)  # each image is its own number
    targets = np.arange(40) % 2
    memory = load_estimator("sklearn.neighbors.KNeighborsClassifier", {"n_neighbors": "1"})
    result = cross_validate(memory, images, targets, folds=4)
    remembered = accuracy_score(targets, memory.fit(images, targets).predict(images))

    assert remembered == 1
    assert result.mean("accuracy") < 0.7


class Remembering(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Right where it has seen the very image, and else wrong."""

    def fit(self, X: Any, y: Any) -> "Remembering":  # noqa: N803
        self.classes_ = np.unique(y)
        self.seen_ = {image.tobytes(): target for image, target in zip(X, y, strict=True)}
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803
        return np.array([self.seen_.get(image.tobytes(), -1) for image in X])


@pytest.mark.parametrize("stratified", [True, False])
def test_images_of_one_group_are_never_both_trained_on_and_tested_on(stratified: bool) -> None:
    groups = np.arange(60) // 4
    images = np.broadcast_to(groups[:, None, None], (60, 2, 2)).astype(np.uint8)
    targets = groups % 3
    apart, together = (
        cross_validate(Remembering(), images, targets, groups=given, folds=3, stratified=stratified)
        for given in (None, groups)
    )

    assert apart.mean("accuracy") > 0.9
    assert together.mean("accuracy") == 0
    assert not apart.plan.same_folds(together.plan)


def test_fewer_groups_than_folds_are_told() -> None:
    with pytest.raises(TorchfinchError, match="2 groups of images make no 3 folds"):
        cross_validate(Counted(), IMAGES, TARGETS, groups=np.arange(30) // 15, folds=3)


class Killed(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Ends its process, as the kernel does where memory does not suffice."""

    def fit(self, _images: object, _targets: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_fold_whose_process_is_killed_is_told() -> None:
    with pytest.raises(TorchfinchError, match="the process of a fold was killed"):
        cross_validate(Killed(), np.zeros((20, 2)), np.arange(20) % 2, folds=2, jobs=2)
