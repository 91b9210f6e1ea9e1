"""An experiment to test with."""

from typing import Any

from torchfinch.experiment.spec import Experiment

FIELDS: dict[str, Any] = {
    "name": "digits-2",
    "salt": "autumn",
    "share": 0.5,
    "metric": {"name": "accepted", "kind": "conversion", "baseline": 0.3, "effect": 0.05},
    "users_per_day": 200,
    "days": 14,
}


def experiment(**changes: Any) -> Experiment:
    metric = {**FIELDS["metric"], **changes.pop("metric", {})}
    return Experiment.model_validate({**FIELDS, "metric": metric, **changes})
