"""How good a classifier is, in numbers: from true classes and probabilities, with scikit-learn's definitions.

It knows networks only as something that turns a batch into scores; where data comes from is training's matter.
"""

from torchfinch.evaluation.metrics import ClassMetrics, Evaluation, evaluate
from torchfinch.evaluation.predict import probabilities

__all__ = ["ClassMetrics", "Evaluation", "evaluate", "probabilities"]
