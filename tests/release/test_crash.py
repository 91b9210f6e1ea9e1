"""The controller is killed at any moment, and people and machines interfere; what must never happen never does."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torchfinch.release.adapters import Request
from torchfinch.release.manifest.spec import Action, Spec
from torchfinch.release.simulation.simulated import World
from torchfinch.release.state import Arm, Phase

MakeSpec = Callable[..., Spec]
STEPS = [0, 5, 25, 50, 100]
BASELINE = {"route": {"kind": "HTTPRoute", "name": "digits"}, "baseline": {"deployment": "digits-baseline"}}


class Killed(BaseException):
    """The process ends here, wherever that is."""


@dataclass
class Watched:
    """A world whose every change is checked, and whose controller dies after a given number of changes."""

    spec: Spec
    world: World = field(default_factory=World)
    dies_in: int | None = None
    rolled_back: set[str] = field(default_factory=set)
    skips: int = 0
    promoting: bool = False
    offers: int = 0
    asks: int = 0

    def __post_init__(self) -> None:
        self.world.touched = self.touched
        self.world.baseline = Arm() if self.spec.baseline else None
        self.controller = self.world.controller(self.spec)
        self.weights = [0]

    def touched(self, call: str) -> None:
        if call == "after set_weight":
            self.check_weight()
        if call == "before deploy":
            self.deployed = self.world.canary
        if call == "after deploy" and self.world.canary is not self.deployed and self.world.stable.ready:
            assert self.world.weight == 0, "a canary was replaced while it served"
        if call == "after promote":
            assert self.world.stable.digest not in self.rolled_back, "promoted after it was rolled back"
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in < 0:
                self.dies_in = None
                raise Killed

    def check_weight(self) -> None:
        mark = self.world.mark
        assert mark
        assert self.world.weight == mark.weight
        assert not (mark.weight and mark.mirror), "copies beside a weight"
        before, now = self.weights[-1], mark.weight
        self.weights.append(now)
        if mark.phase is Phase.ROLLING_BACK:
            assert now == 0, "a rollback that is none"
            self.rolled_back.add(mark.canary)
        if now > 0:
            assert mark.canary not in self.rolled_back, "traffic after a rollback"
        climbed = STEPS.index(now) - STEPS.index(before)
        if climbed > 1 and not self.promoting:
            assert self.lost_weights, f"jumped from {before} to {now}"
        if now <= before:
            return
        self.lost_weights = False

    lost_weights: bool = False
    deployed: Arm | None = None

    def tick(self) -> Phase | None:
        try:
            return self.controller.tick().outcome
        except Killed:
            self.controller = self.world.controller(self.spec)
            return None

    def do(self, event: tuple[str, Any]) -> None:
        name, value = event
        if name == "serve":
            requests, bad = value
            if self.world.stable.ready:
                self.world.serve(requests, error_rate={self.world.canary.digest: bad})
            self.world.now += 1
            self.tick()
        elif name == "kill":
            self.dies_in = value
        elif name == "offer":
            self.offers += 1
            self.world.offered = f"canary {self.offers}"
        elif name == "ask":
            self.ask(value)
        elif name == "hand":
            self.world.weight = value
        elif name == "restart":
            mark = self.world.mark
            if mark and mark.revision > self.world.load().revision:  # nothing is left that knows of it
                self.rolled_back.discard(mark.canary)
            self.world.restart_router()
            self.weights.append(0)
            self.lost_weights = True
        elif name == "lose" and (value != "baseline" or self.spec.baseline):
            self.world.lose(value)
        elif name == "break":
            self.world.broken ^= {value}
        elif name == "pause":
            self.world.asked = replace(self.world.asked, paused=value)

    def ask(self, kind: str) -> None:
        self.asks += 1
        self.skips += kind == "skip"
        self.promoting = self.promoting or kind == "promote"
        if kind == "retry":
            self.rolled_back.clear()
        wish = Action.model_validate({"type": kind, "id": f"{kind} {self.asks}"})
        self.world.asked = replace(self.world.asked, action=wish)

    def settle(self) -> Phase:
        """Everything is well again and nobody kills: the release must come to an end."""
        self.dies_in = None
        self.world.broken.clear()
        self.world.asked = Request(action=self.world.asked.action)
        for _ in range(200):
            if self.world.load().hand is not None:
                self.ask("resume")
            self.world.serve(1000)
            self.world.now += 1
            outcome = self.tick()
            if outcome:
                return outcome
        state = self.world.load()
        raise AssertionError(f"never ends: {state.phase} at {self.world.weight}, {state.reason}")


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("serve"), st.tuples(st.sampled_from([0, 100, 1000, 3000]), st.sampled_from([0, 0, 0, 0.3]))),
        st.tuples(st.just("serve"), st.tuples(st.just(3000), st.just(0))),
        st.tuples(st.just("kill"), st.integers(0, 7)),
        st.tuples(st.just("offer"), st.none()),
        st.tuples(st.just("ask"), st.sampled_from(["promote", "abort", "retry", "skip", "resume"])),
        st.tuples(st.just("hand"), st.sampled_from([0, 3, 5, 20, 25, 60, 100])),
        st.tuples(st.just("restart"), st.none()),
        st.tuples(st.just("lose"), st.sampled_from(["canary", "stable", "baseline"])),
        st.tuples(st.just("break"), st.sampled_from(["set_weight", "observe", "read", "promote", "deploy"])),
        st.tuples(st.just("pause"), st.booleans()),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS, st.sampled_from([{}, {"shadow": {"percent": 50}}, BASELINE]))
def test_no_order_of_kills_and_interference_breaks_a_release(
    make_spec: MakeSpec, events: list[tuple[str, Any]], more: dict[str, Any]
) -> None:
    watched = Watched(make_spec(**more))
    for event in events:
        watched.do(event)
    outcome = watched.settle()
    assert (watched.world.weight, watched.world.mirror, watched.world.baseline_weight) == (0, 0, 0)
    if outcome is Phase.PROMOTED:
        assert watched.world.stable.digest == watched.world.offered
    if outcome is Phase.ROLLED_BACK:
        assert watched.world.stable.digest != watched.world.offered


@pytest.mark.parametrize("bad", [0.0, 0.3], ids=["good", "bad"])
@pytest.mark.parametrize("more", [{}, {"shadow": {"percent": 50}}, BASELINE], ids=["", "shadow", "baseline"])
@pytest.mark.parametrize("death", range(80))
def test_a_kill_at_each_single_moment_changes_no_outcome(
    make_spec: MakeSpec, death: int, bad: float, more: dict[str, Any]
) -> None:
    watched = Watched(make_spec(**more), dies_in=death)
    for _ in range(40):
        watched.do(("serve", (3000, bad)))
    assert watched.settle() is (Phase.ROLLED_BACK if bad else Phase.PROMOTED)
    if not bad:
        assert [weight for weight in dict.fromkeys(watched.weights) if weight] == STEPS[1:]


@pytest.mark.parametrize("death", range(12))
def test_a_skip_is_one_step_even_if_the_controller_is_killed_in_it(make_spec: MakeSpec, death: int) -> None:
    watched = Watched(make_spec())
    while watched.world.weight != 5:
        watched.do(("serve", (0, 0)))
    watched.ask("skip")
    watched.dies_in = death
    for _ in range(8):
        watched.do(("serve", (0, 0)))
    assert watched.world.weight == 25
