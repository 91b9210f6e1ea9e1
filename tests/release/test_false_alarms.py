"""How often the rule takes back a canary that is as good as stable; docs/releases.md states such numbers."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from torchfinch.release.manifest.spec import Spec
from torchfinch.release.simulation.simulated import World
from torchfinch.release.state import Phase

MakeSpec = Callable[..., Spec]


def taken_back(spec: Spec, *, stable: float, canary: float, releases: int = 60) -> float:
    """The share of releases rolled back where stable and canary fail at these rates, seen every 250 requests."""
    ends = []
    for seed in range(releases):
        random, world = Random(seed), World()
        controller = world.controller(spec)
        while (end := controller.tick().outcome) is None:
            world.serve(250, error_rate={"one": stable, "two": canary}, random=random)
            world.now += spec.analysis.interval
        ends.append(end)
    return ends.count(Phase.ROLLED_BACK) / releases


@pytest.mark.parametrize(
    ("analysis", "rate", "least", "most"),
    [
        ({}, 0.0, 0.0, 0.0),
        ({}, 0.001, 0.2, 0.5),  # 0.35 in 400 releases: the rule taken literally
        ({"stableErrorFloor": 0.005}, 0.001, 0.0, 0.1),  # 0.01
        ({}, 0.01, 0.1, 0.4),  # 0.25
    ],
)
def test_an_equal_canary_is_taken_back_about_as_often_as_the_docs_say(
    make_spec: MakeSpec, analysis: dict[str, Any], rate: float, least: float, most: float
) -> None:
    assert least <= taken_back(make_spec(analysis=analysis), stable=rate, canary=rate) <= most


def test_a_canary_that_fails_five_times_as_often_is_taken_back(make_spec: MakeSpec) -> None:
    assert taken_back(make_spec(), stable=0.01, canary=0.05) > 0.95
