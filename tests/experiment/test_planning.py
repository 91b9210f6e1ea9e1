import numpy as np
import pytest
from experiment.helpers import experiment
from scipy import stats

from torchfinch.experiment.planning import plan, plan_for, power_with, required_users, weeks_of


def test_a_conversion_needs_as_many_users_as_textbooks_say() -> None:
    """From 30 % to 35 % with 80 % power at 5 %: 1,374 or so a variant."""
    assert required_users(experiment(), effect=0.05) / 2 == pytest.approx(1374, abs=2)


def test_a_mean_needs_sixteen_times_the_variance_over_the_squared_effect() -> None:
    """Lehr's rule, for each variant."""
    metric = {"kind": "total", "deviation": 2.0, "baseline": 10.0, "effect": 0.5}
    assert required_users(experiment(metric=metric), effect=0.5) / 2 == pytest.approx(16 * 4 / 0.25, rel=0.02)


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_the_needed_users_give_the_power_asked_for(share: float) -> None:
    planned = experiment(share=share, power=0.9)
    assert power_with(planned, required_users(planned, effect=0.05), effect=0.05) == pytest.approx(0.9, abs=0.001)


def test_the_power_is_how_often_an_experiment_shows_the_effect() -> None:
    planned = experiment(share=0.3)
    generator = np.random.default_rng(1)
    users = {"control": 1400, "treatment": 600}
    shown = [
        stats.ttest_ind(
            1.0 * (generator.random(users["treatment"]) < 0.35),
            1.0 * (generator.random(users["control"]) < 0.3),
            equal_var=False,
        ).pvalue
        < 0.05
        for _ in range(1_000)
    ]
    assert np.mean(shown) == pytest.approx(power_with(planned, 2_000, effect=0.05), abs=0.05)


def test_equal_shares_need_the_fewest_users() -> None:
    needed = [required_users(experiment(share=share), effect=0.05) for share in (0.05, 0.2, 0.5)]
    assert needed == sorted(needed, reverse=True)


def test_the_days_follow_from_the_users_a_day() -> None:
    found = plan_for(experiment(users_per_day=100), effect=0.05)
    assert found.days == -(-found.users // 100)
    assert weeks_of(found.days) == -(-found.days // 7)


def test_a_rate_beyond_one_is_not_planned_for() -> None:
    effects = [one.effect for one in plan(experiment(metric={"baseline": 0.9, "effect": 0.06}))]
    assert effects == [0.03, 0.06]


def test_a_smaller_effect_needs_four_times_the_users() -> None:
    half, whole, _ = plan(experiment(metric={"kind": "total", "deviation": 1.0, "effect": 0.1}))
    assert half.users == pytest.approx(4 * whole.users, abs=4)
    assert half.power < whole.power
