"""How good a model is, in numbers: from truth and answers, with scikit-learn's definitions.

It knows networks only as something that turns a batch into scores; where data comes from is training's matter.
"""

from torchfinch.evaluation.calibration import Bin
from torchfinch.evaluation.claim import claim_of_answers, claim_of_errors, claim_of_folds
from torchfinch.evaluation.comparison import (
    ErrorComparison,
    FoldComparison,
    TestSetComparison,
    compare_answers,
    compare_errors,
    compare_folds,
)
from torchfinch.evaluation.crossval import cross_validate
from torchfinch.evaluation.estimators import load_estimator
from torchfinch.evaluation.folder import read_folder
from torchfinch.evaluation.folds import CrossValidation, Fold, Plan, read_cross_validation
from torchfinch.evaluation.metrics import Average, ClassMetrics, Evaluation, evaluate
from torchfinch.evaluation.model import Model, load_model
from torchfinch.evaluation.predict import outputs, probabilities
from torchfinch.evaluation.regression import RegressionEvaluation, evaluate_regression
from torchfinch.evaluation.source_code import code_digest

__all__ = [
    "Average",
    "Bin",
    "ClassMetrics",
    "CrossValidation",
    "ErrorComparison",
    "Evaluation",
    "Fold",
    "FoldComparison",
    "Model",
    "Plan",
    "RegressionEvaluation",
    "TestSetComparison",
    "claim_of_answers",
    "claim_of_errors",
    "claim_of_folds",
    "code_digest",
    "compare_answers",
    "compare_errors",
    "compare_folds",
    "cross_validate",
    "evaluate",
    "evaluate_regression",
    "load_estimator",
    "load_model",
    "outputs",
    "probabilities",
    "read_cross_validation",
    "read_folder",
]
