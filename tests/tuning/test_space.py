"""Values to try, as text and as the points of a grid."""

from math import inf

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from torchfinch.errors import TorchfinchError
from torchfinch.tuning import read_space
from torchfinch.tuning.space import grid, points


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1e-4..1e-2:log", FloatDistribution(1e-4, 1e-2, log=True)),
        ("0.0..1.0", FloatDistribution(0, 1)),
        ("0..1:0.25", FloatDistribution(0, 1, step=0.25)),
        ("-3..3", IntDistribution(-3, 3)),
        ("1..1000:log", IntDistribution(1, 1000, log=True)),
        ("16..64:16", IntDistribution(16, 64, step=16)),
        ("best, final", CategoricalDistribution(["best", "final"])),
        ("1,2.5,true,null", CategoricalDistribution([1, 2.5, True, None])),
        (["adamw", "1e-3", 4], CategoricalDistribution(["adamw", 1e-3, 4])),
    ],
)
def test_a_text_or_a_list_says_which_values_are_tried(text: str | list[str], values: BaseDistribution) -> None:
    assert read_space({"x": text}) == {"x": values}


@pytest.mark.parametrize("text", ["..4", "a..b", "4..1", "0..1:log", "1..2:often", "", "a,,b", []])
def test_other_texts_are_told_with_their_name_and_the_forms(text: str | list[str]) -> None:
    with pytest.raises(TorchfinchError, match=r"^x: .*\(hint: write LOW\.\.HIGH"):
        read_space({"x": text})


def test_a_logarithmic_range_from_0_is_told_in_own_words() -> None:
    with pytest.raises(TorchfinchError, match=r"x: '0\.\.1:log' is no range: a logarithmic range begins above 0"):
        read_space({"x": "0..1:log"})


@pytest.mark.parametrize(("text", "hint"), [("16..64", "x=16..64:12"), ("0.0..1.0", "x=0.0..1.0:0.25"), ("1..2", ":1")])
def test_for_a_grid_a_range_needs_a_step(text: str, hint: str) -> None:
    with pytest.raises(TorchfinchError, match=f"x: '{text}' has no step, and a grid tries every point .*{hint}"):
        read_space({"x": text}, stepped=True)


@pytest.mark.parametrize(
    ("text", "count"), [("a,b", 2), ("1..1000000000", 1e9), ("0.0..0.3:0.1", 4), ("0.0..0.3", inf), ("1..9:log", inf)]
)
def test_points_are_counted_without_being_made(text: str, count: float) -> None:
    assert points(read_space({"x": text, "y": "1,2"})) == 2 * count


def test_a_space_without_settings_is_refused() -> None:
    with pytest.raises(TorchfinchError, match="the search space is empty"):
        read_space({})


def test_a_grid_has_every_point_with_both_ends() -> None:
    space = read_space({"a": "16..64:16", "b": "0.0..0.3:0.1", "c": "x,y", "d": "1..3"})

    assert grid(space) == {"a": [16, 32, 48, 64], "b": [0, 0.1, 0.2, 0.3], "c": ["x", "y"], "d": [1, 2, 3]}


@pytest.mark.parametrize("text", ["0.0..1.0", "1e-4..1e-2:log", "1..1000:log"])
def test_a_grid_of_endless_values_is_refused(text: str) -> None:
    with pytest.raises(TorchfinchError, match="x has no end of values, and a grid tries them all"):
        grid(read_space({"x": text}))
