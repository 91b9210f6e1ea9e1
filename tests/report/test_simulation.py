"""The chart of `torchfinch canary simulate --plot`."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from torchfinch.cli import build
from torchfinch.release.simulation.simulate import Outcome
from torchfinch.release.simulation.traffic import Scenario
from torchfinch.report.simulation import COLOURS, simulation_chart

SVG = "{http://www.w3.org/2000/svg}"


def marks(chart: str, policy: str) -> list[tuple[float, float]]:
    """Places of a policy's marks, without that of the legend."""
    found = [each for each in ElementTree.fromstring(chart).iter(f"{SVG}circle") if each.get("fill") == COLOURS[policy]]
    return [(float(each.get("cx", 0)), float(each.get("cy", 0))) for each in found[1:]]


def test_a_mark_lies_where_its_share_is() -> None:
    equal, worse = Scenario(), Scenario(canary=0.05)
    chart = simulation_chart(
        [
            Outcome(scenario=equal, policy="required", back=0.5, median=None),
            Outcome(scenario=equal, policy="sequential", back=0.0, median=None),
            Outcome(scenario=worse, policy="sequential", back=1.0, median=100.0),
        ],
        caption="a & b",
    )
    [(half, row)] = marks(chart, "required")
    (none, same), (all_of_them, _), (soonest, _) = marks(chart, "sequential")

    assert half - none == 110
    assert abs(row - same) < 10, "one row"
    assert all_of_them < soonest
    assert "1 → 5 %, weight 10" in chart
    assert "a &amp; b" in chart


def test_a_policy_that_seldom_rolls_back_has_no_median_to_show() -> None:
    chart = simulation_chart(
        [Outcome(scenario=Scenario(canary=0.05), policy="Argo-like", back=0.2, median=None)], caption=""
    )
    assert len(marks(chart, "Argo-like")) == 1


@pytest.mark.slow
def test_the_same_seed_draws_the_same_chart(tmp_path: Path) -> None:
    def drawn(seed: int) -> str:
        result: Result = CliRunner().invoke(
            build(), ["canary", "simulate", "--releases", "5", "--seed", str(seed), "--plot", str(tmp_path / "x.svg")]
        )
        assert result.exit_code == 0, result.output
        return (tmp_path / "x.svg").read_text()

    first = drawn(1)
    assert drawn(1) == first
    assert drawn(2) != first
    assert "5 releases for each row, a look every 50 requests, seed 1" in first
