"""Values to try, as text and as the points of a grid."""

import re
from math import inf
from typing import Any

import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)

from torchfinch.errors import TorchfinchError
from torchfinch.tuning import read_space
from torchfinch.tuning.space import drawn, ends, grid, points


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
        ("3, True,False,None", CategoricalDistribution([3, True, False, None])),
        ("'3',rbf", CategoricalDistribution(["3", "rbf"])),
        (["adamw", "1e-3", 4], CategoricalDistribution(["adamw", 1e-3, 4])),
    ],
)
def test_a_text_or_a_list_says_which_values_are_tried(text: str | list[str], values: BaseDistribution) -> None:
    assert read_space({"x": text}) == {"x": values}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("(50,),(100, 50), None", ((50,), (100, 50), None)),
        ("{0: 1, 1: 2},balanced", ({0: 1, 1: 2}, "balanced")),
        ("[[1, 2], [3]],[4]", ([[1, 2], [3]], [4])),
        ([(50,), "(100,)"], ((50,), (100,))),
        ("{1, 2},1j,b'x',({3},)", ("{1, 2}", "1j", "b'x'", "({3},)")),  # no values that a database keeps
    ],
)
def test_values_with_brackets_are_read_as_python_reads_them(text: str | list[Any], values: tuple[Any, ...]) -> None:
    space = read_space({"x": text})

    assert ends(space["x"]) == values
    assert json_to_distribution(distribution_to_json(space["x"])) == space["x"]  # as a database keeps it
    assert tuple(drawn({"x": choice})["x"] for choice in grid(space)["x"]) == values


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1..5:0", "its step is 0"),
        ("1..5:-1", "its step is -1"),
        ("0.0..1.0:nan", "its step is nan"),
        ("1..inf", "its ends are no finite numbers"),
        ("nan..1", "its ends are no finite numbers"),
        ("-inf..1:log", "its ends are no finite numbers"),
    ],
)
def test_a_range_without_points_is_refused_as_it_was_written(text: str, why: str) -> None:
    with pytest.raises(TorchfinchError, match=rf"x: '{re.escape(text)}' is no range: {why}"):
        read_space({"x": text})


@pytest.mark.parametrize("text", ["..4", "a..b", "4..1", "0..1:log", "1..2:often", "", "a,,b", "(1,2", "1,)", []])
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
