"""A release that is played in a world in memory, turn by turn."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torchfinch.release.controller import Tick
from torchfinch.release.manifest.spec import Action, Spec
from torchfinch.release.simulation.simulated import World
from torchfinch.release.state import Phase

MakeSpec = Callable[..., Spec]


class Play:
    """A release that is played turn by turn, a second each."""

    def __init__(self, make_spec: MakeSpec) -> None:
        self.make_spec = make_spec
        self.world = World()
        self.spec = make_spec()
        self.ticks: list[Tick] = []
        self.controller = self.world.controller(lambda: self.spec)

    def change(self, **spec: Any) -> None:
        self.spec = self.make_spec(**spec)

    def tick(self, requests: int = 0, **serving: Any) -> Tick:
        self.world.serve(requests, **serving)
        self.world.now += 1
        self.ticks.append(self.controller.tick())
        return self.ticks[-1]

    def until(self, done: Callable[[Tick], bool], requests: int = 0, **serving: Any) -> Tick:
        for _ in range(200):
            tick = self.tick(requests, **serving)
            if done(tick):
                return tick
        raise AssertionError(f"still {self.phase} at {self.world.weight}: {self.reason}")

    def at_weight(self, weight: int, requests: int = 1000, **serving: Any) -> None:
        """Go on until this weight is verified."""
        self.until(lambda tick: tick.decision.state.weight == weight and tick.decision.state.verified, requests,
                   **serving)  # fmt: skip

    def ended(self, requests: int = 1000, **serving: Any) -> Phase:
        outcome = self.until(lambda tick: tick.outcome is not None, requests, **serving).outcome
        assert outcome
        return outcome

    def ask(self, action: str, name: str = "once") -> None:
        wish = Action.model_validate({"type": action, "id": name})
        self.world.asked = replace(self.world.asked, action=wish)

    @property
    def phase(self) -> Phase:
        return self.ticks[-1].decision.state.phase

    @property
    def reason(self) -> str:
        return self.ticks[-1].decision.state.reason

    @property
    def notes(self) -> str:
        return "; ".join(self.ticks[-1].decision.notes)
