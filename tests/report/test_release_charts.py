"""The charts of one release: intervals, evidence, and as many points as can be told apart."""

import random

import pytest

from torchfinch.release.decision.policies import judgement
from torchfinch.release.manifest.spec import Analysis, Spec
from torchfinch.release.simulation.simulated import World
from torchfinch.release.state import LATENCY_EDGES, State
from torchfinch.report import releases
from torchfinch.report.charts import Axis, Chart, Series
from torchfinch.report.decisions import CLAIMS
from torchfinch.report.intervals import mean_interval, share_interval
from torchfinch.report.releases import Release, release


def test_a_share_has_wilsons_interval() -> None:
    from scipy.stats import binomtest

    for count, requests in ((0, 30), (3, 100), (100, 100)):
        expected = binomtest(count, requests).proportion_ci(method="wilson")
        assert share_interval(count, requests) == pytest.approx((expected.low, expected.high), abs=1e-4)


def test_the_interval_of_a_mean_holds_it_and_is_as_wide_as_the_histogram_says() -> None:
    chance = random.Random(1)
    seconds = [0.01 * 2 ** chance.gauss(0, 0.5) for _ in range(4000)]
    buckets = [*(sum(each <= edge for each in seconds) for edge in LATENCY_EDGES), len(seconds)]
    mean = 1000 * sum(seconds) / len(seconds)
    interval = mean_interval(mean, buckets)
    deviation = (sum((1000 * each - mean) ** 2 for each in seconds) / len(seconds)) ** 0.5

    assert interval
    assert interval[0] < mean < interval[1]
    assert interval[1] - interval[0] == pytest.approx(2 * 1.96 * deviation / len(seconds) ** 0.5, rel=0.25)
    assert mean_interval(mean, [0] * len(buckets)) is None


def test_a_band_ends_where_the_chart_does() -> None:
    axis = Axis(low=0, high=10, ticks=(0, 10))
    series = Series("one", [(0, 1), (10, 1)], tone="canary", band=[(0, 0, 50), (10, 0, 5)])
    chart = Chart(title="", unit="", series=(series,), x=axis, y=axis, x_name="")
    assert chart.band(series) == "M0 0L100 50L100 100L0 100Z"


def played(*, looks: int, policy: str = "required") -> Release:
    """A release that stays at its first step, with a look every second."""
    spec = Spec.model_validate(
        {
            "model": "m",
            "route": {"port": 1},
            "steps": [{"weight": 50, "duration": "10h"}],
            "analysis": {"interval": "1s", "policy": policy},
        }
    )
    world = World()
    controller = world.controller(spec)
    for place in range(looks):
        controller.tick()
        latency = 0.01 + 0.0001 * place
        world.serve(100, error_rate={"one": 0.02, "two": 0.02}, latency={"one": latency, "two": 1.5 * latency})
        world.now += 1
    return release(world.history)


def test_a_long_release_is_drawn_with_as_many_points_as_can_be_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "MOST_POINTS", 20)
    found = played(looks=100)
    errors = next(chart for chart in found.charts if chart.title == "Error rate")
    assert 15 < len(errors.series[0].points) <= 25
    assert errors.series[0].points[-1][0] == found.turns[-1].at, "the newest is always drawn"


def test_what_is_recorded_after_a_promotion_is_no_turning_point() -> None:
    world = World()
    spec = Spec.model_validate({"model": "m", "route": {"port": 1}, "steps": [{"weight": 50}]})
    controller = world.controller(spec)
    while controller.tick().outcome is None:
        world.serve(400)
        world.now += 5
    world.broken.add("observe")
    controller.tick()
    assert [turn.change for turn in release(world.history).turning_points][-3:] == [
        "50 → 100 %",
        "Promoting",
        "Promoted",
    ]
    assert world.history[-1]["trouble"]


def test_evidence_is_drawn_for_sequential_alone() -> None:
    required, sequential = (played(looks=12, policy=policy).charts for policy in ("required", "sequential"))
    assert [chart.title for chart in required] == ["Traffic", "Error rate", "Mean latency"]
    assert [chart.title for chart in sequential] == ["Traffic", "Error rate", "Mean latency", "Evidence"]


def test_the_claims_that_are_drawn_are_those_that_sequential_makes() -> None:
    made = {check.name for check in judgement(Analysis(policy="sequential"), State()) if check.unit == "odds"}
    assert set(CLAIMS) == made - {"traffic not as weighted"}


def test_both_limits_are_drawn_as_they_applied_at_each_look() -> None:
    found = played(looks=12)
    chart = next(chart for chart in found.charts if chart.title == "Mean latency")
    assert [one.name for one in chart.series] == ["1.0", "two", "limit against stable"]
    stable, against = dict(chart.series[0].points), dict(chart.series[2].points)
    assert against == pytest.approx({at: 2 * stable[at] for at in against})
    assert len(set(against.values())) > 5
    assert "limit 1500" in chart.unit, "it lies too far above to be drawn"

    chart = next(chart for chart in found.charts if chart.title == "Error rate")
    fixed = next(one for one in chart.series if one.name == "limit")
    assert {value for _, value in fixed.points} == {0.05}
