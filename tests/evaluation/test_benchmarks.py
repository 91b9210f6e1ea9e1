"""What the benchmark of trainings makes of its runs."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "training.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark", PATH)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(*, reached: bool) -> list[dict[str, Any]]:
    """Two seeds of the recipe, the second of which may not get there, and of the plain loop, which does not."""
    times = {"recipe": ((10.0, True), (20.0, reached)), "plain": ((100.0, False), (120.0, False))}
    rates = [{"kind": kind, "seed": 0, "images_per_second": 1.0} for kind in ("plain-lenet", "recipe-lenet")]
    return rates + [
        {"kind": kind, "seed": seed, "seconds": seconds, "reached": there, "test_accuracy": 0.9}
        for kind, seeds in times.items()
        for seed, (seconds, there) in enumerate(seeds)
    ]


def test_the_least_favourable_pair_of_seeds_is_claimed_and_the_span_is_told(benchmark: ModuleType) -> None:
    result = benchmark.compared(rows(reached=True), "seconds")

    assert (result["times_faster"], result["times_faster_from_to"]) == (5, (5, 12))
    assert benchmark.claim(result) == "5.0 times faster (5.0 to 12.0 by the pair of seeds)"


def test_nothing_is_claimed_of_a_recipe_that_does_not_get_there_with_every_seed(benchmark: ModuleType) -> None:
    result = benchmark.compared(rows(reached=False), "seconds")

    assert (result["times_faster"], result["times_faster_from_to"]) == (None, None)
    assert benchmark.claim(result).startswith("no claim")
