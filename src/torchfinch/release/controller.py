"""The loop: look, decide, act, remember, and again. It holds no state of its own, so it may die at any moment.

The order of its writes is the heart of it. Weights are set first, with a mark that says whose they are and why; the
state is written after. A successor that finds the mark ahead of the state knows what was done (see `answers.look`).
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

from torchfinch.errors import TorchfinchError
from torchfinch.release.adapters import Evidence, Outcomes, Router, Store, View
from torchfinch.release.decision.decide import decide
from torchfinch.release.differ import Differ
from torchfinch.release.external import ExternalChecks
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.news import Herald
from torchfinch.release.state import (
    JUDGED,
    UNDERWAY,
    Act,
    Arm,
    Balance,
    Decision,
    Deploy,
    Phase,
    Promote,
    Reading,
    Remark,
    Retire,
    Seen,
    SetWeight,
    State,
)

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Tick:
    """One turn of the loop, for those who watch."""

    time: float
    spec: Spec
    seen: Seen
    decision: Decision
    trouble: tuple[str, ...]

    @property
    def outcome(self) -> Phase | None:
        """The end that the release has reached and that nothing offered will change, or None."""
        state = self.decision.state
        settled = self.seen.offered in {state.canary, state.stable, ""} and not self.decision.actions
        at_end = state.phase not in UNDERWAY and state.phase is not Phase.ROLLING_BACK
        return state.phase if settled and at_end and state.stable else None


class Controller:
    """Drives one release. `read_spec` is asked at each turn and may raise `TorchfinchError`, which is reported.

    `differ` sends the inputs of `spec.diff`; without it such a release holds.
    `outcomes` is told of promotions and rollbacks beside the loop; where it fails, that is logged and changes nothing.
    """

    def __init__(
        self,
        *,
        read_spec: Callable[[], Spec],
        router: Router,
        evidence: Evidence,
        store: Store,
        differ: Differ | None = None,
        outcomes: Outcomes | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._read_spec = read_spec
        self._router = router
        self._evidence = evidence
        self._store = store
        self._clock = clock
        self._checks = ExternalChecks()
        self._differ = differ
        self._herald = Herald(outcomes)
        self._spec: Spec | None = None
        self._recorded: dict[str, Any] = {}

    def run(self, *, until: Callable[[Tick], bool], sleep: Callable[[float], None] = time.sleep) -> Tick:
        """Turn until `until` says so; returns the last turn, when everybody has been told of it."""
        while not until(tick := self.tick()):
            sleep(tick.spec.analysis.interval)
        self.finish()
        return tick

    def finish(self) -> None:
        """Wait until everybody has been told the news, for a while at most."""
        self._herald.finish()

    def tick(self) -> Tick:
        """One turn: everything is read anew, one decision is taken, carried out and kept."""
        trouble: list[str] = []
        before = self._store.load()
        spec = self._wanted(before, trouble)
        seen = self._look(spec, before, trouble)
        now = self._clock()
        decision = decide(spec, before, seen, now)
        for act in decision.actions:
            self._try(partial(self._act, spec, act), trouble)
        tick = Tick(
            time=now, spec=spec, seen=seen, decision=decision, trouble=tuple(dict.fromkeys((*seen.trouble, *trouble)))
        )
        self._record(tick, before)
        self._store.save(spec, decision.state)
        self._herald.tell(self._store.name, spec, before=before, after=decision.state, seen=seen)
        return tick

    def _wanted(self, state: State, trouble: list[str]) -> Spec:
        """The manifest and what a person asked beside it; a broken edit is reported and the last good one stays."""
        try:
            self._spec = self._read_spec()
        except TorchfinchError as error:
            if self._spec is None:
                self._store.refuse(error.message)
                raise
            trouble.append(f"the last good manifest stays in force: {error}")
        request = self._store.request()
        asked = request.action if request.action and request.action.id not in state.done else self._spec.action
        return self._spec.model_copy(update={"paused": self._spec.paused or request.paused, "action": asked})

    def _look(self, spec: Spec, state: State, trouble: list[str]) -> Seen:
        blind = View(weight=None, mark=None, stable=Arm(ready=None), canary=Arm(ready=None), offered=None)
        view = self._try(partial(self._router.observe, spec), trouble) or blind
        reading: Reading | None = (
            self._try(partial(self._evidence.read, spec), trouble) if state.phase in UNDERWAY else None
        )
        judged = state.phase in JUDGED and state.verified
        return Seen(
            offered=view.offered,
            weight=view.weight,
            mark=view.mark,
            mirror=view.mirror,
            synced=view.synced,
            stable=view.stable,
            canary=view.canary,
            baseline=view.baseline,
            baseline_weight=view.baseline_weight,
            reading=reading,
            findings=self._checks.findings(spec, state, release=self._store.name) if judged else (),
            compared=self._differ.found(spec, state, view.canary) if self._differ else None,
            trouble=(*view.trouble, *trouble),
        )

    def _act(self, spec: Spec, act: Act) -> None:
        if isinstance(act, SetWeight):
            self._router.set_weight(spec, act.mark)
        elif isinstance(act, Deploy):
            self._router.deploy(spec, act.role, act.digest, fresh=act.fresh)
        elif isinstance(act, Promote):
            self._router.promote(spec, act.digest)
        elif isinstance(act, Retire):
            self._router.retire(spec)
        elif isinstance(act, Balance):
            self._router.balance(spec)
        elif isinstance(act, Remark):
            self._router.remark(spec, act.mark)

    def _try(self, step: Callable[[], Value], trouble: list[str]) -> Value | None:
        """What `step` returns; a failure is reported, and the next turn tries again: none may stop a rollback."""
        try:
            return step()
        except TorchfinchError as error:
            trouble.append(str(error))
        except Exception as error:  # noqa: BLE001  whatever others answer
            trouble.append(repr(error))
        return None

    def _record(self, tick: Tick, before: State) -> None:
        """One line per turn, with all that `replay` needs; at rest only the turns that say something new."""
        state = tick.decision.state
        news = (state.phase, state.reason, tick.trouble, tick.decision.notes)
        quiet = state.phase not in UNDERWAY and not tick.decision.actions and self._recorded.get("news") == news
        if quiet:
            return
        known = self._recorded if state.started == before.started else {}  # so that each release can be read alone
        self._store.append(record(tick, before=before, known=known))
        self._recorded = {"news": news, "spec": tick.spec, "state": state}


def record(tick: Tick, *, before: State, known: dict[str, Any]) -> dict[str, Any]:
    """One history line.

    `input` holds what was given to the decision: `seen` always, `spec` and `state` only where they are not what the
    line before left (`known`).
    """
    state, seen = tick.decision.state, tick.seen
    given: dict[str, Any] = {"seen": asdict(seen)}
    if known.get("spec") != tick.spec:
        given["spec"] = tick.spec.model_dump(mode="json", by_alias=True)
    if known.get("state") != before:
        given["state"] = asdict(before)
    return {
        "time": tick.time,
        "phase": state.phase,
        "step": tick.spec.step_of(state.weight),
        "steps": len(tick.spec.steps),
        "weight": state.weight,
        "shown": seen.weight,
        "reason": state.reason,
        "notes": tick.decision.notes,
        "trouble": tick.trouble,
        "checks": [asdict(check) for check in tick.decision.checks],
        "actions": [{"type": type(act).__name__, **asdict(act)} for act in tick.decision.actions],
        "stable": {"digest": seen.stable.digest, "label": seen.stable.label, **asdict(state.total.stable)},
        "canary": {"digest": seen.canary.digest, "label": seen.canary.label, **asdict(state.total.canary)},
        "input": given,
    }
