from collections.abc import Callable
from typing import Any

import pytest
from release.playing import Play

from torchfinch.release.manifest.spec import Spec

MakeSpec = Callable[..., Spec]


def make_spec(**changes: Any) -> Spec:
    """A spec with four steps; `analysis` is merged, everything else replaced."""
    analysis = {"interval": "1s", **changes.pop("analysis", {})}
    base = {
        "model": "digits",
        "stable": {"archive": "one.mar"},
        "canary": {"archive": "two.mar"},
        "route": {"port": 8090},
        "steps": [{"weight": 5}, {"weight": 25}, {"weight": 50}, {"weight": 100}],
    }
    return Spec.model_validate({**base, "analysis": analysis, **changes})


@pytest.fixture(name="make_spec")
def _make_spec() -> MakeSpec:
    return make_spec


@pytest.fixture
def play(make_spec: MakeSpec) -> Play:
    return Play(make_spec)
