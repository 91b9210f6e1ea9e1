"""Tuning: try values of a recipe's settings, or of any scikit-learn estimator's, and keep those that score best.

`read_space` says which values, a `Problem` what is tried and how it is judged, and `tune` tries. Optuna chooses the
candidates and remembers the trials.
"""

from torchfinch.errors import TorchfinchError

try:
    import optuna as _optuna  # noqa: F401
except ModuleNotFoundError as error:
    raise TorchfinchError("tuning needs optuna", "pip install 'torchfinch[tune]'") from error

from torchfinch.tuning.page import render_page
from torchfinch.tuning.problem import Problem, estimator_problem, images_problem
from torchfinch.tuning.result import Trial, Tuned
from torchfinch.tuning.space import read_space, read_value
from torchfinch.tuning.study import Sampler, tune

__all__ = [
    "Problem",
    "Sampler",
    "Trial",
    "Tuned",
    "estimator_problem",
    "images_problem",
    "read_space",
    "read_value",
    "render_page",
    "tune",
]
