"""A study that is killed: an estimator that says that it is fitted, and takes for ever with one value."""

import sys
import time
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from torchfinch.tuning import Problem, estimator_problem, read_space, tune


class Slow(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    def __init__(self, size: int = 1, mark: str = "") -> None:
        self.size, self.mark = size, mark

    def fit(self, X: NDArray[np.float64], y: NDArray[np.int64]) -> Self:  # noqa: N803
        self.classes_ = np.unique(y)
        if self.mark and self.size == 2:
            Path(self.mark).touch()
            time.sleep(600)
        return self

    def predict(self, X: NDArray[np.float64]) -> NDArray[np.int64]:  # noqa: N803
        return np.full(len(X), self.size % 2)


def problem(mark: str = "") -> Problem:
    question = estimator_problem(Slow(), np.zeros((8, 1)), np.array([0, 1] * 4), folds=2)
    question.estimator.set_params(mark=mark)
    return question


SPACE = {"size": "1..4:1"}

if __name__ == "__main__":
    storage, mark = sys.argv[1:]
    tune(problem(mark), read_space(SPACE), sampler="grid", storage=storage)
