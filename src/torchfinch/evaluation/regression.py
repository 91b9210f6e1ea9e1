"""How far a regressor's predictions lie from the truth."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score, root_mean_squared_error

from torchfinch.errors import TorchfinchError


@dataclass(frozen=True)
class RegressionEvaluation:
    """What a regressor did on images that it was not trained on; `y` is the truth, `p` the prediction."""

    samples: int
    """Images looked at."""
    mae: float
    """Mean of `|y - p|`, in the unit of the truth."""
    mse: float
    """Mean of `(y - p)²`."""
    rmse: float
    """Square root of `mse`, in the unit of the truth."""
    r2: float
    """`1 - Σ(y - p)² / Σ(y - mean y)²`: 1 is perfect, 0 is as good as always saying the mean.

    Of several outputs the mean of theirs.
    """
    huber: float
    """Mean of `(y - p)² / 2` where `|y - p|` is at most `delta`, and of `delta |y - p| - delta² / 2` beyond."""

    def to_dict(self) -> dict[str, float]:
        """Plain numbers, for JSON."""
        return asdict(self)


def evaluate_regression(targets: ArrayLike, predictions: ArrayLike, *, delta: float = 1.0) -> RegressionEvaluation:
    """Compare true values with predictions, both of shape (N,) or (N, outputs); means are over all of them.

    `delta`, in the unit of the truth, is the Huber loss's alone.

    Raises:
        TorchfinchError: the shapes disagree, there are fewer than two images, or a value is no finite number.
    """
    truth, answers = (np.asarray(values, dtype=np.float64) for values in (targets, predictions))
    if truth.shape != answers.shape or len(truth) < 2:
        raise TorchfinchError(
            f"targets of shape {truth.shape} and predictions of shape {answers.shape} cannot be compared",
            "give two or more of each, in the same shape",
        )
    if not np.isfinite(truth).all() or not np.isfinite(answers).all():
        what = "targets" if not np.isfinite(truth).all() else "predictions"
        raise TorchfinchError(f"the {what} hold values that are no finite numbers", "look at the data and the loss")
    away = np.abs(truth - answers)
    return RegressionEvaluation(
        samples=len(truth),
        mae=float(mean_absolute_error(truth, answers)),
        mse=float(mean_squared_error(truth, answers)),
        rmse=float(root_mean_squared_error(truth.ravel(), answers.ravel())),
        r2=float(r2_score(truth, answers)),
        huber=float(np.where(away <= delta, away**2 / 2, delta * (away - delta / 2)).mean()),
    )
