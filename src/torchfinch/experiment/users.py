"""From events to users: who counts, with which variant, and the number that the metric gives them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchfinch.experiment.events import Event, Exposure, Outcome, Request
from torchfinch.experiment.start import DAY, Started


@dataclass(frozen=True)
class Users:
    """One row for each user who entered, in the order of their first exposure; all arrays have shape (N,)."""

    exposed: NDArray[np.float64]
    """Time of the first exposure, in seconds since 1970."""
    treated: NDArray[np.bool_]
    totals: NDArray[np.float64]
    """Sum of the user's outcomes in their window."""
    counts: NDArray[np.float64]
    """How many there were."""
    any: NDArray[np.bool_]
    """Whether one was above 0."""
    misassigned: int
    """Users left out since an event shows another variant than their id gives."""
    unmatched: int
    """Outcomes left out since no user who entered goes with them."""

    def until(self, time: float) -> "Users":
        """Those who were exposed before `time`."""
        size = int(np.searchsorted(self.exposed, time))
        return Users(
            self.exposed[:size],
            self.treated[:size],
            self.totals[:size],
            self.counts[:size],
            self.any[:size],
            self.misassigned,
            self.unmatched,
        )


def gather(events: Iterable[Event], started: Started) -> Users:
    """Join exposures, requests and outcomes of the experiment's last phase; the order of the events does not matter.

    A user enters with the first exposure under the phase's share. An outcome counts within the window after it; of
    several outcomes of one request the first.
    """
    seen = _Seen(started)
    for event in events:
        if event.experiment == started.experiment.name:
            seen.take(event)
    return seen.users()


class _Seen:
    """What the events say, until all were seen."""

    def __init__(self, started: Started) -> None:
        self._started = started
        self._metric = started.experiment.metric.name
        self._first: dict[str, float] = {}
        self._misassigned: set[str] = set()
        self._user_of: dict[str, str] = {}
        self._of_users: list[tuple[str, float, float]] = []
        self._of_requests: dict[str, tuple[float, float]] = {}

    def take(self, event: Event) -> None:
        if isinstance(event, Exposure):
            self._expose(event)
        elif isinstance(event, Request):
            self._user_of[event.request] = event.user
            if self._metric == "request.failed":
                self._outcome_of(event.request, event.time, float(event.failed))
            elif self._metric == "request.seconds" and not event.failed:
                self._outcome_of(event.request, event.time, event.seconds)
        elif event.metric == self._metric:
            self._outcome(event)

    def users(self) -> Users:
        """Those who entered and were given what their id says."""
        rows = sorted((time, user) for user, time in self._first.items() if user not in self._misassigned)
        place = {user: index for index, (_, user) in enumerate(rows)}
        exposed = np.array([time for time, _ in rows], dtype=np.float64)
        totals, counts, any_above, unmatched = np.zeros(len(rows)), np.zeros(len(rows)), np.zeros(len(rows), bool), 0
        window = self._started.experiment.window_days * DAY
        for user, time, value in self._outcomes():
            row = place.get(user)
            if row is None:
                unmatched += user not in self._misassigned
            elif exposed[row] <= time < exposed[row] + window:
                totals[row] += value
                counts[row] += 1
                any_above[row] |= value > 0
        variants = [self._started.experiment.variant(user) == "treatment" for _, user in rows]
        treated = np.array(variants, dtype=np.bool_)
        return Users(exposed, treated, totals, counts, any_above, len(self._misassigned), unmatched)

    def _expose(self, event: Exposure) -> None:
        started = self._started
        if event.share == started.experiment.share and started.begin <= event.time < started.last_entry:
            self._first[event.user] = min(event.time, self._first.get(event.user, event.time))
            if event.variant != started.experiment.variant(event.user):
                self._misassigned.add(event.user)

    def _outcome(self, event: Outcome) -> None:
        if event.user is not None:
            self._of_users.append((event.user, event.time, event.value))
        elif event.request is not None:
            self._outcome_of(event.request, event.time, event.value)

    def _outcome_of(self, request: str, time: float, value: float) -> None:
        self._of_requests[request] = min((time, value), self._of_requests.get(request, (time, value)))

    def _outcomes(self) -> Iterator[tuple[str, float, float]]:
        """User, time and value; the user is empty where a request is not known."""
        yield from self._of_users
        for request, (time, value) in self._of_requests.items():
            yield self._user_of.get(request, ""), time, value
