"""The scores of one fold, from anything that predicts."""

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, is_regressor
from sklearn.metrics import accuracy_score, f1_score, recall_score

from torchfinch.errors import TorchfinchError
from torchfinch.evaluation.metrics import matthews_correlation
from torchfinch.evaluation.regression import evaluate_regression


def fold_scores(estimator: BaseEstimator, images: NDArray[np.uint8], targets: NDArray[np.int64]) -> dict[str, float]:
    """Scores by name: of answers, of probabilities where the estimator gives any, or of a regressor's values."""
    answers = estimator.predict(images)
    if is_regressor(estimator):
        numbers = evaluate_regression(targets, answers)
        return {"r2": numbers.r2, "mae": numbers.mae, "rmse": numbers.rmse}
    seen = np.unique(targets)
    scores = {
        "accuracy": accuracy_score(targets, answers),
        "balanced_accuracy": recall_score(targets, answers, labels=seen, average="macro"),
        "f1_macro": f1_score(targets, answers, average="macro", zero_division=0),
        "f1_weighted": f1_score(targets, answers, average="weighted", zero_division=0),
        "matthews_correlation": matthews_correlation(targets, answers),
    }
    if hasattr(estimator, "predict_proba"):
        scores["cross_entropy"] = _cross_entropy(estimator, images, targets)
    return {name: float(score) for name, score in scores.items()}


def _cross_entropy(estimator: BaseEstimator, images: NDArray[np.uint8], targets: NDArray[np.int64]) -> float:
    rows = np.asarray(estimator.predict_proba(images), dtype=np.float64)  # a float32 has a larger eps
    if not np.isfinite(rows).all():
        raise TorchfinchError("the probabilities hold NaN", "a training went wrong: try a lower learning rate")
    if not hasattr(estimator, "classes_"):
        raise TorchfinchError(
            "the estimator has predict_proba and no classes_",
            "fit sets it: numpy.unique(y), the classes of the columns",
        )
    true = targets[:, None] == estimator.classes_  # (N, classes); an untrained class is true nowhere and gets 0
    return float(-np.log(np.clip((rows * true).sum(axis=1), np.finfo(rows.dtype).eps, 1)).mean())
