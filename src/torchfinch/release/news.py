"""Who is told of a release and what: people by a web-hook, a registry of models by its own interface.

Both are told beside the loop. Where that fails it is logged, and changes no decision.
"""

import os
from collections.abc import Iterator
from functools import partial

import httpx

from torchfinch.errors import TorchfinchError
from torchfinch.release.adapters import Outcomes
from torchfinch.release.errands import Errands
from torchfinch.release.manifest.options import Notify
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.state import UNDERWAY, Phase, Seen, State

_SECONDS = 10.0
_LAST_SECONDS = 60.0
_LATELY = 600.0
"""So long after the end of a release a new process tells it again: the one before may have been killed over it."""
_ENDS = frozenset({Phase.PROMOTED, Phase.ROLLED_BACK})
_WORDS = {Phase.PROMOTED: "promoted", Phase.ROLLED_BACK: "rolled back", Phase.PAUSED: "paused by hand"}


class Herald:
    """Tells the news of one release."""

    def __init__(self, outcomes: Outcomes | None) -> None:
        self._outcomes = outcomes
        self._messages, self._reports = Errands(), Errands()
        self._degraded = False
        self._first = True

    def tell(self, release: str, spec: Spec, *, before: State, after: State, seen: Seen) -> None:
        """Hand what a turn brought to those who want to know; waits for nobody."""
        if spec.notify:
            deadline = spec.progress_deadline
            for text in headlines(release, before, after, seen, degraded=self._degraded, deadline=deadline):
                self._messages.put(f"{release}: notification", partial(send, spec.notify, text))
        lately = self._first and after.at - (after.ended or 0.0) < _LATELY
        if self._outcomes and after.phase in _ENDS and (lately or after.phase is not before.phase):
            self._report(self._outcomes, release, after, seen)
        self._degraded, self._first = seen.stable.ready == 0, False

    def finish(self) -> None:
        """Wait until everybody has been told, for a while at most."""
        for errands in (self._messages, self._reports):
            errands.finish(_LAST_SECONDS)

    def _report(self, outcomes: Outcomes, release: str, state: State, seen: Seen) -> None:
        archives = {arm.digest: arm.archive for arm in (seen.stable, seen.canary)}
        digest = archives.get(state.canary) or state.canary
        promoted, rolled_back = partial(outcomes.promoted, digest), partial(outcomes.rolled_back, digest, state.reason)
        self._reports.put(f"{release}: registry", promoted if state.phase is Phase.PROMOTED else rolled_back)


def headlines(
    release: str, before: State, after: State, seen: Seen, *, degraded: bool, deadline: float
) -> Iterator[str]:
    """The news of one turn in a person's words; `degraded` says whether stable was so at the last one.

    A promotion that takes longer than `deadline` seconds is told too: nothing else would end it.
    """
    phase = after.phase
    if phase in _WORDS and phase is not before.phase:
        labels = {arm.digest: arm.label for arm in (seen.canary, seen.stable)}
        label = labels.get(after.canary) or "the canary"
        yield f"{release}: {label} was {_WORDS[phase]}: {after.reason}"
    if phase is Phase.PROMOTING and before.stuck <= deadline < after.stuck:
        yield f"{release}: {after.reason}"
    if seen.stable.ready == 0 and not degraded:
        amid = f", and the canary has weight {after.weight}" if phase in UNDERWAY else ""
        yield f"{release}: degraded: stable has no ready endpoint{amid}"


def send(notify: Notify, text: str) -> None:
    """Post `text` to the web-hook.

    Raises:
        TorchfinchError: it is not there, or refuses. The message is without its URL, which may be a secret.
    """
    url = notify.webhook or os.environ.get(notify.webhook_env or "", "")
    if not url:
        raise TorchfinchError(f"environment variable {notify.webhook_env} of the controller is not set")
    try:
        answer = httpx.post(url, json={"text": text}, timeout=_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TorchfinchError(f"the web-hook does not answer: {type(error).__name__}") from error
    if not answer.is_success:
        raise TorchfinchError(f"the web-hook answers {answer.status_code}")
