"""Estimators are found by their dotted names, with values as Python writes them."""

import numpy as np
import pytest
from sklearn.preprocessing import FunctionTransformer

from torchfinch.errors import TorchfinchError
from torchfinch.evaluation import load_estimator
from torchfinch.evaluation.estimators import parameters_of


def test_a_function_among_the_parameters_is_known_by_its_name() -> None:
    assert parameters_of(FunctionTransformer(np.mean))["func"] == "numpy.mean"


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("sklearn.svm.SVX", {}, "there is no estimator sklearn.svm.SVX"),
        ("nowhere", {}, "there is no estimator nowhere"),
        ("sklearn.metrics.accuracy_score", {}, "is no scikit-learn estimator"),
        ("sklearn.multiclass.OneVsRestClassifier", {}, "OneVsRestClassifier cannot be made: .*'estimator'"),
        ("sklearn.svm.SVC", {"gama": "1"}, r"no parameter 'gama'.*did you mean gamma"),
    ],
)
def test_an_estimator_that_cannot_be_made_is_named(name: str, values: dict[str, str], said: str) -> None:
    with pytest.raises(TorchfinchError, match=said):
        load_estimator(name, values)


def test_text_becomes_what_python_would_read() -> None:
    estimator = load_estimator(
        "sklearn.neural_network.MLPClassifier", {"hidden_layer_sizes": "(5, 3)", "alpha": "1e-3", "solver": "lbfgs"}
    )
    network = estimator[-1]
    assert (network.hidden_layer_sizes, network.alpha, network.solver) == ((5, 3), 1e-3, "lbfgs")
