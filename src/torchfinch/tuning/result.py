"""What a study found."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from optuna import Study
from optuna.importance import get_param_importances
from optuna.trial import FrozenTrial

from torchfinch.errors import TorchfinchError
from torchfinch.tuning.space import drawn
from torchfinch.tuning.storage import counts

_FEWEST = 4
"""Complete trials from which importances can be told: some must be better than others."""


@dataclass(frozen=True)
class Trial:
    """One candidate and how it did."""

    number: int
    """Counted from 0."""
    state: Literal["complete", "pruned", "failed", "running"]
    """Pruned: given up early, since it did worse than the median of the others so far."""
    score: float | None
    """Mean over the folds; of a pruned trial, over those that it got to."""
    values: Mapping[str, Any]
    """What was tried."""
    scores: tuple[float, ...]
    """Of each fold."""
    seconds: float | None
    note: str
    """Why it failed."""


@dataclass(frozen=True)
class Tuned:
    """A study as it stands."""

    name: str
    metric: str
    """More is better."""
    trials: tuple[Trial, ...]
    importances: Mapping[str, float]
    """Share of what made trials good that each setting accounts for; they add up to 1. Empty after few trials."""

    @property
    def ranked(self) -> tuple[Trial, ...]:
        """Complete trials first, the best of them at the top; among equals the earlier."""
        return tuple(
            sorted(self.trials, key=lambda trial: (trial.state != "complete", -(trial.score or 0.0), trial.number))
        )

    @property
    def best(self) -> Trial:
        """The complete trial with the highest score.

        Raises:
            TorchfinchError: no trial is complete.
        """
        if not self.trials or self.ranked[0].state != "complete":
            notes = [trial.note for trial in self.trials if trial.note]
            raise TorchfinchError(f"none of {len(self.trials)} trials is complete", notes[0] if notes else "--trials")
        return self.ranked[0]

    def count(self, state: str) -> int:
        """How many trials are in a state."""
        return sum(trial.state == state for trial in self.trials)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def read_study(study: Study, metric: str | None) -> Tuned:
    """The study's trials so far."""
    trials = tuple(read_trial(trial) for trial in study.get_trials(deepcopy=False) if counts(trial))
    return Tuned(
        name=study.study_name, metric=metric or "score", trials=trials, importances=_importances(study, trials)
    )


def read_trial(trial: FrozenTrial) -> Trial:
    """What Optuna keeps of one trial."""
    states: dict[str, Literal["complete", "pruned", "failed", "running"]]
    states = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    scores = tuple(trial.user_attrs.get("scores", ()))
    return Trial(
        number=trial.number,
        state=states.get(trial.state.name, "running"),
        score=sum(scores) / len(scores) if scores else None,
        values=drawn(trial.params),
        scores=scores,
        seconds=trial.duration.total_seconds() if trial.duration else None,
        note=str(trial.user_attrs.get("note", "")),
    )


def _importances(study: Study, trials: tuple[Trial, ...]) -> dict[str, float]:
    scores = {trial.score for trial in trials if trial.state == "complete"}
    return get_param_importances(study) if len(scores) >= _FEWEST else {}
