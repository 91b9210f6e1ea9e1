"""What was decided at the start of an experiment, kept beside its events: afterwards only the share may grow."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from torchfinch.errors import TorchfinchError
from torchfinch.experiment.spec import Experiment
from torchfinch.files import write_whole

DAY = 86400.0
_FREE = {"share", "logs"}


class Phase(BaseModel):
    """A time with one share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: float
    """Seconds since 1970."""
    share: float


class Started(BaseModel):
    """An experiment under way. The phase that counts is the last one: users of a smaller share are no fair half."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    experiment: Experiment
    phases: tuple[Phase, ...] = Field(min_length=1)

    @property
    def begin(self) -> float:
        """When users began to count, in seconds since 1970."""
        return self.phases[-1].start

    @property
    def last_entry(self) -> float:
        """When users stop entering."""
        return self.begin + self.experiment.days * DAY

    @property
    def end(self) -> float:
        """The planned end: the last user's window is over."""
        return self.last_entry + self.experiment.window_days * DAY


def started_path(experiment: Experiment, *, beside: Path) -> Path:
    """Where the start of the experiment in the file `beside` is kept."""
    return logs_folder(experiment, beside=beside) / f"{experiment.name}.started.json"


def logs_folder(experiment: Experiment, *, beside: Path) -> Path:
    """The folder of the events, seen from the experiment's file."""
    return beside.parent / experiment.logs


def start(experiment: Experiment, before: Started | None, *, now: float) -> Started:
    """The experiment begins at `now`, or goes on with a larger share.

    Raises:
        TorchfinchError: it runs already, its share would shrink, or something else than the share changed.
    """
    phase = Phase(start=now, share=experiment.share)
    if before is None:
        return Started(experiment=experiment, phases=(phase,))
    check_unchanged(experiment, before)
    share = before.experiment.share
    if experiment.share == share:
        raise TorchfinchError(f"{experiment.name} has been started already", "torchfinch abtest status")
    if experiment.share < share:
        raise TorchfinchError(
            f"the share of {experiment.name} may only grow: it is {share:g}, the file says {experiment.share:g}",
            "a smaller share would give users back the control; end the experiment and begin one of another name",
        )
    if now <= before.begin:
        raise TorchfinchError("the new share begins before the one it follows", "name a later time with --at")
    return Started(experiment=experiment, phases=(*before.phases, phase))


def check_unchanged(experiment: Experiment, before: Started) -> None:
    """Refuse, by `TorchfinchError`, a file that no longer says what was decided at the start."""
    for field, old in before.experiment.model_dump().items():
        new = experiment.model_dump()[field]
        if field not in _FREE and new != old:
            raise TorchfinchError(
                f"{field} of {experiment.name} changed since the start: it was {old}, the file says {new}",
                "put it back, or begin an experiment of another name",
            )


def load_started(path: Path) -> Started | None:
    """What was decided, or None where the experiment has not begun; raises `TorchfinchError` for a broken file."""
    try:
        return Started.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        hint = "put back a copy that is whole; the decisions of the start are in no other place"
        raise TorchfinchError(f"{path} cannot be read", hint) from error


def save_started(started: Started, path: Path) -> None:
    """Keep it, whole or not at all."""
    write_whole(path, started.model_dump_json(indent=2) + "\n")
