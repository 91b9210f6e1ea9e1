import random
from typing import Any

import pytest
from experiment.helpers import experiment

from torchfinch.experiment.events import Event, Exposure, Outcome, Request
from torchfinch.experiment.start import DAY, Started, start
from torchfinch.experiment.users import Users, gather

BEGIN = 1_000_000.0


def started(**changes: Any) -> Started:
    return start(experiment(**changes), None, now=BEGIN)


def exposure(user: str, *, hours: float = 0.0, share: float = 0.5, **changes: Any) -> Exposure:
    fields = {"experiment": "digits-2", "user": user, "share": share, "time": BEGIN + hours * 3600}
    return Exposure.model_validate({**fields, "variant": experiment(share=share).variant(user), **changes})


def outcome(value: float, *, hours: float = 1.0, user: str | None = None, request: str | None = None) -> Outcome:
    time = BEGIN + hours * 3600
    return Outcome(time=time, experiment="digits-2", metric="accepted", value=value, user=user, request=request)


def request(name: str, user: str, *, seconds: float = 0.1, failed: bool = False, hours: float = 1.0) -> Request:
    variant = experiment().variant(user)
    time = BEGIN + hours * 3600
    return Request(
        time=time, experiment="digits-2", request=name, user=user, variant=variant, seconds=seconds, failed=failed
    )


def rows(users: Users) -> list[tuple[float, bool, float, float, bool]]:
    return list(
        zip(*(a.tolist() for a in (users.exposed, users.treated, users.totals, users.counts, users.any)), strict=True)
    )


def joined(*events: Event, **changes: Any) -> Users:
    """Joined in several orders, which must not matter."""
    found = gather(events, started(**changes))
    for seed in range(5):
        mixed = random.Random(seed).sample(events, len(events))
        again = gather(mixed, started(**changes))
        assert (rows(again), again.misassigned, again.unmatched) == (rows(found), found.misassigned, found.unmatched)
    return found


def test_a_user_is_one_row_with_all_their_outcomes() -> None:
    users = joined(exposure("ada"), outcome(1, user="ada"), outcome(0, user="ada"), outcome(2, user="ada"))
    assert rows(users) == [(BEGIN, True, 3.0, 3.0, True)]


def test_a_user_without_outcomes_counts_too() -> None:
    assert rows(joined(exposure("Zoë"))) == [(BEGIN, False, 0.0, 0.0, False)]


def test_of_several_exposures_the_first_counts() -> None:
    users = joined(exposure("ada", hours=5), exposure("ada", hours=2), exposure("ada", hours=9))
    assert users.exposed.tolist() == [BEGIN + 2 * 3600]


def test_outcomes_are_joined_by_request_and_counted_once_each() -> None:
    users = joined(
        exposure("ada"),
        request("r1", "ada"),
        request("r2", "ada"),
        outcome(1, request="r1", hours=2),
        outcome(5, request="r1", hours=3),
        outcome(1, request="r2"),
    )
    assert users.totals.tolist() == [2.0]


def test_outcomes_count_in_the_users_own_window_only() -> None:
    users = joined(
        exposure("ada", hours=10),
        outcome(1, user="ada", hours=9.9),
        outcome(10, user="ada", hours=10),
        outcome(100, user="ada", hours=33.9),
        outcome(1000, user="ada", hours=34),
    )
    assert users.totals.tolist() == [110.0]


def test_users_of_a_smaller_share_or_of_another_time_do_not_enter() -> None:
    users = joined(
        exposure("ada", share=0.1),
        exposure("bob", hours=-1),
        exposure("eve", hours=14 * 24),
        exposure("Zoë", hours=14 * 24 - 1),
    )
    assert users.exposed.tolist() == [BEGIN + 14 * DAY - 3600]


def test_a_user_logged_with_another_variant_than_their_id_gives_is_left_out_and_told() -> None:
    users = joined(
        exposure("ada"), exposure("ada", hours=1, variant="control"), exposure("Zoë"), outcome(1, user="ada")
    )
    assert (len(users.exposed), users.misassigned, users.unmatched) == (1, 1, 0)


def test_outcomes_of_nobody_known_are_told() -> None:
    users = joined(exposure("ada"), outcome(1, request="r9"), outcome(1, user="Zoë"))
    assert users.unmatched == 2


def test_other_experiments_and_metrics_are_passed_over() -> None:
    users = joined(
        exposure("ada"),
        exposure("Zoë", experiment="digits-3"),
        Outcome(time=BEGIN + 60, experiment="digits-2", metric="clicked", value=1, user="ada"),
    )
    assert rows(users) == [(BEGIN, True, 0.0, 0.0, False)]


@pytest.mark.parametrize(("name", "total", "count"), [("request.failed", 1.0, 2.0), ("request.seconds", 0.1, 1.0)])
def test_the_routers_own_requests_are_a_metric_and_failed_ones_have_no_time(
    name: str, total: float, count: float
) -> None:
    events = exposure("ada"), request("r1", "ada"), request("r2", "ada", failed=True, seconds=9)
    users = joined(*events, metric={"name": name})
    assert (users.totals.tolist(), users.counts.tolist()) == ([total], [count])


def test_nothing_is_no_users() -> None:
    assert rows(joined()) == []
