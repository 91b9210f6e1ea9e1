"""Two predictors in one process, each user with their own variant, every answer and failure written down."""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from torchfinch.errors import TorchfinchError
from torchfinch.experiment.assignment import Variant
from torchfinch.experiment.log import EventLog
from torchfinch.experiment.spec import Experiment

Input = TypeVar("Input")
Answer = TypeVar("Answer")
_VARIANTS = {"control", "treatment"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Routed(Generic[Answer]):
    """An answer, the variant that gave it, and the request's id, by which outcomes are logged later."""

    answer: Answer
    variant: Variant
    request: str


class Router(Generic[Input, Answer]):
    """Sends each user's requests to the predictor of their variant.

    A predictor's exception is logged as a failed request and reaches the caller as it is. A log that cannot be written
    is told through `logging` and costs nobody an answer.

    Raises:
        TorchfinchError: the predictors are not one for `control` and one for `treatment`.
    """

    def __init__(
        self, experiment: Experiment, predictors: Mapping[Variant, Callable[[Input], Answer]], *, log: EventLog
    ) -> None:
        if set(predictors) != _VARIANTS:
            raise TorchfinchError(
                f"predictors are named {', '.join(sorted(predictors)) or 'nothing'}", "name them control and treatment"
            )
        self._experiment = experiment
        self._predictors = dict(predictors)
        self._log = log

    def predict(self, user: str, request: Input, *, request_id: str | None = None) -> Routed[Answer]:
        """Answer a user's request; `request_id` is made up where the caller has none.

        Raises:
            TorchfinchError: the user is no user id. Else whatever the predictor raises.
        """
        variant, name = self._experiment.variant(user), request_id or uuid.uuid4().hex
        self._try(lambda: self._log.expose(self._experiment, user))
        start, failed = time.perf_counter(), True
        try:
            answer = self._predictors[variant](request)
            failed = False
        finally:
            seconds = time.perf_counter() - start
            self._try(
                lambda: self._log.request(
                    self._experiment.name, name, user=user, variant=variant, seconds=seconds, failed=failed
                )
            )
        return Routed(answer=answer, variant=variant, request=name)

    def outcome(self, metric: str, value: float, *, user: str | None = None, request: str | None = None) -> None:
        """Log what came of a request, or of a user's visit; raises `TorchfinchError` for what is no outcome."""
        try:
            self._log.outcome(self._experiment.name, metric, value, user=user, request=request)
        except OSError as error:
            self._lost(error)

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except (OSError, TorchfinchError) as error:
            self._lost(error)

    def _lost(self, error: Exception) -> None:
        _log.error("an event of experiment %s is lost: %s", self._experiment.name, error)
