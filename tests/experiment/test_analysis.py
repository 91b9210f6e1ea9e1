import json
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from experiment.helpers import experiment

from torchfinch.experiment.analysis import Analysis, analyse
from torchfinch.experiment.chart import interval_chart
from torchfinch.experiment.start import DAY, Started, start
from torchfinch.experiment.users import Users

BEGIN = 1_000_000.0


def started(**changes: Any) -> Started:
    return start(experiment(**changes), None, now=BEGIN)


def users(rates: tuple[float, float], *, size: int = 2800, share: float = 0.5, seed: int = 1) -> Users:
    """Users spread over 14 days, each with four outcomes of the rate of their variant; the first 200 are halves."""
    generator = np.random.default_rng(seed)
    treated = generator.random(size) < share
    treated[:200] = np.arange(200) % 2 == 0
    totals = generator.binomial(4, np.where(treated, rates[1], rates[0])).astype(np.float64)
    return Users(
        exposed=BEGIN + np.arange(size) * 14 * DAY / size,
        treated=treated,
        totals=totals,
        counts=np.full(size, 4.0),
        any=totals > 0,
        misassigned=0,
        unmatched=0,
    )


def at(days: float, rates: tuple[float, float] = (0.1, 0.1), **changes: Any) -> Analysis:
    joined = users(rates).until(BEGIN + days * DAY)
    return analyse(joined, started(**changes), now=BEGIN + days * DAY)


def test_at_the_planned_end_welchs_test_decides() -> None:
    found = at(15, (0.1, 0.15))
    assert found.ended
    assert found.interval
    assert found.interval.p_value
    assert found.claim.startswith("With the treatment, accepted is 0.1")
    assert "higher (95 % interval 0.0984 to 0.171, p = 3.8e-13)" in found.claim


def test_a_loss_is_said_as_such() -> None:
    assert "accepted is 0.1" in at(15, (0.15, 0.1)).claim
    assert "lower (95 % interval -0.1" in at(15, (0.15, 0.1)).claim


def test_no_difference_at_the_end_is_said_with_what_is_still_possible() -> None:
    claim = at(15, metric={"effect": 0.03}).claim
    assert claim == (
        "No difference is shown: accepted may be from 0.032 lower to 0.0386 higher with the treatment; "
        "a difference of 0.03 is not ruled out."
    )


def test_a_difference_that_matters_is_ruled_out_where_the_interval_says_so() -> None:
    assert at(15, metric={"effect": 0.3}).claim.endswith("; a difference of 0.3 or more is ruled out.")


def test_before_the_end_only_the_always_valid_interval_speaks() -> None:
    found = at(9, (0.05, 0.15))
    assert not found.ended
    assert found.interval
    assert found.interval.p_value is None
    assert found.claim.startswith("This may be claimed at once, and the experiment ended: with the treatment, accepted")
    assert "always-valid 95 % interval" in found.claim


def test_before_the_end_no_difference_shown_means_go_on() -> None:
    assert at(9).claim == (
        "No difference is shown so far, and this is no sign that there is none; go on until 1970-01-27 13:46 UTC."
    )


def test_before_a_hundred_users_of_each_nothing_is_claimed() -> None:
    found = at(1.5)
    assert found.interval is None
    assert found.looks == ()
    assert found.claim.startswith("Nothing may be claimed: ")
    assert "window of outcomes behind them, 100 are needed" in found.claim


def test_a_split_that_is_not_planned_voids_all_else() -> None:
    for days in (9, 15):
        found = at(days, (0.05, 0.25), share=0.4)
        assert found.sample_ratio.alarm
        assert found.interval is None
        assert found.looks == ()
        assert "users have the treatment where 0.4 of them were planned" in found.claim


def test_users_whose_window_is_open_are_in_the_split_and_not_in_the_comparison() -> None:
    control, treatment = at(9).arms
    assert control.users + treatment.users == 1800
    assert control.complete + treatment.complete == 1600


def test_each_kind_of_metric_has_its_own_value() -> None:
    values = {}
    for kind in ("conversion", "total", "ratio"):
        metric = {"kind": kind, "deviation": None if kind == "conversion" else 1.0}
        values[kind] = at(15, (0.1, 0.1), metric=metric).arms[0].value
    assert values["conversion"] == pytest.approx(1 - 0.9**4, abs=0.03)
    assert values["total"] == pytest.approx(0.4, abs=0.03)
    assert values["ratio"] == pytest.approx(0.1, abs=0.01)


def test_looks_are_the_days_and_each_is_what_was_known_then() -> None:
    found = at(15, (0.1, 0.15))
    days = [round((look.time - BEGIN) / DAY, 6) for look in found.looks]
    assert days == list(range(2, 16))
    assert [look.users for look in found.looks] == [200 * (day - 1) for day in range(2, 16)]
    then = at(8, (0.1, 0.15))
    assert then.looks[-1].interval == then.interval == found.looks[6].interval


def test_a_long_experiment_has_few_looks() -> None:
    joined = users((0.1, 0.1))
    found = analyse(joined, started(days=365), now=BEGIN + 300 * DAY)
    assert 15 < len(found.looks) <= 20


@pytest.mark.parametrize("days", [9, 15])
@pytest.mark.parametrize("rates", [(0.0, 0.0), (1.0, 1.0)])
def test_a_metric_that_never_differs_is_no_proof_of_anything(days: float, rates: tuple[float, float]) -> None:
    assert "accepted is the same for every user of a variant" in at(days, rates).claim


def test_a_variant_without_a_single_conversion_is_still_compared() -> None:
    assert at(15, (0.1, 0.0)).claim.startswith("With the treatment, accepted is 0.3")


@pytest.mark.parametrize("now", [0, 9, 15])
def test_nobody_is_no_proof_of_anything(now: float) -> None:
    nobody = users((0.1, 0.1)).until(0)
    found = analyse(nobody, started(), now=BEGIN + now * DAY)
    assert found.claim.startswith("Nothing may be claimed: 0 users of the control")
    assert found.sample_ratio.p_value == 1


def test_a_ratio_without_outcomes_is_named() -> None:
    joined = users((0.1, 0.1))
    empty = Users(joined.exposed, joined.treated, joined.totals * 0, joined.counts * 0, joined.any, 0, 0)
    found = analyse(empty, started(metric={"kind": "ratio", "deviation": 1.0}), now=BEGIN + 15 * DAY)
    assert "a variant has no outcome accepted" in found.claim
    assert found.arms[0].value is None


def test_an_analysis_is_json() -> None:
    shown = json.loads(json.dumps(at(15, (0.1, 0.15)).to_dict()))
    assert shown["ended"] is True
    assert shown["sample_ratio"]["alarm"] is False
    assert shown["interval"]["low"] > 0
    assert shown["started"]["experiment"]["name"] == "digits-2"


def test_equal_versions_are_rarely_told_apart_by_looks_each_day_and_the_test_at_the_end() -> None:
    wrong = 0
    for seed in range(150):
        found = analyse(users((0.1, 0.1), seed=seed), started(), now=BEGIN + 15 * DAY)
        early = any(look.interval.excludes_zero for look in found.looks)
        wrong += early or bool(found.interval and found.interval.excludes_zero)
    assert wrong / 150 < 0.1


def test_the_chart_is_one_svg_that_stands_alone() -> None:
    found = at(15, (0.1, 0.15))
    drawn = interval_chart(found.looks, found.started)
    root = ET.fromstring(drawn)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall("{http://www.w3.org/2000/svg}circle")) == len(found.looks)
    assert drawn.count("http") == 1
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "digits-2: accepted, treatment minus control, with its always-valid 95 % interval" in texts


def test_a_chart_without_looks_says_so() -> None:
    assert "no look yet" in interval_chart((), started())
