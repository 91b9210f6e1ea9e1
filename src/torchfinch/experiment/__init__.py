"""A/B tests: who gets which variant, what is written down, and what may be claimed from it at the end.

These names are for code that serves users and load nothing heavy; `torchfinch.experiment.analysis` judges.
"""

from torchfinch.experiment.assignment import Variant
from torchfinch.experiment.log import EventLog
from torchfinch.experiment.reading import compact, read_events
from torchfinch.experiment.router import Routed, Router
from torchfinch.experiment.spec import Experiment, Metric, read_experiment
from torchfinch.experiment.web import COOKIE, HEADER, new_user_id, visitor

__all__ = [
    "COOKIE",
    "HEADER",
    "EventLog",
    "Experiment",
    "Metric",
    "Routed",
    "Router",
    "Variant",
    "compact",
    "new_user_id",
    "read_events",
    "read_experiment",
    "visitor",
]
