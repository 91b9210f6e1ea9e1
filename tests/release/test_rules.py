from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchfinch.release.decision.rules import accumulate, grow, judge, merged
from torchfinch.release.manifest.spec import Analysis
from torchfinch.release.state import Counters, Pair, Reading


def counted(requests: int, errors: int = 0, *, mean: float = 0.1, client_errors: int = 0) -> Counters:
    return Counters(
        requests=requests,
        errors=errors,
        client_errors=client_errors,
        latency_sum=mean * requests,
        latency_count=requests,
    )


def verdicts(stable: Counters, canary: Counters, *, weight: int = 10, **rule: Any) -> dict[str, str]:
    checks = judge(Analysis.model_validate(rule), Pair(stable=stable, canary=canary), weight=weight)
    return {check.name: check.verdict for check in checks}


STABLE = counted(1000, 25)  # 2.5 %


@pytest.mark.parametrize(
    ("canary", "failed"),
    [
        (counted(100, 5), []),  # exactly 5 %, exactly twice 2.5 %
        (counted(100, 6), ["error rate", "error rate against stable"]),
        (counted(1000, 51), ["error rate", "error rate against stable"]),
        (counted(100, 1, mean=0.2), []),
        (counted(100, 1, mean=0.201), ["mean latency against stable"]),
        (counted(100, 1, mean=1.6), ["mean latency", "mean latency against stable"]),
        (counted(100, client_errors=5), []),
        (counted(100, client_errors=6), ["client errors against stable"]),
    ],
)
def test_the_canary_fails_only_beyond_a_limit(canary: Counters, failed: list[str]) -> None:
    assert [name for name, verdict in verdicts(STABLE, canary).items() if verdict == "fail"] == failed


def test_twice_a_stable_rate_is_over_the_limit_below_five_percent() -> None:
    found = verdicts(counted(1000, 10), counted(100, 3))
    assert found["error rate"] == "pass"
    assert found["error rate against stable"] == "fail"


def test_with_no_error_on_stable_one_canary_error_is_too_many() -> None:
    """The requirement's rule taken literally: 1 of 1000 is more than twice 0."""
    assert verdicts(counted(1000), counted(1000, 1))["error rate against stable"] == "fail"
    assert verdicts(counted(1000), counted(1000, 0))["error rate against stable"] == "pass"


def test_a_floor_makes_the_ratio_rule_milder_where_asked() -> None:
    assert verdicts(counted(1000), counted(1000, 10), stableErrorFloor=0.005)["error rate against stable"] == "pass"
    assert verdicts(counted(1000), counted(1000, 11), stableErrorFloor=0.005)["error rate against stable"] == "fail"


def test_a_limit_says_what_it_was_made_from() -> None:
    rule = Analysis.model_validate({"stableErrorFloor": 0.005, "maxLatencyRatio": None})
    found = {check.name: check.basis for check in judge(rule, Pair(stable=counted(1000), canary=counted(9)), weight=10)}
    assert found["error rate against stable"] == "2 times the floor of 0.5 %"
    assert found["error rate"] == found["mean latency against stable"] == ""


@pytest.mark.parametrize(("stable", "weight"), [(Counters(), 10), (STABLE, 100)])
def test_without_stable_traffic_only_the_absolute_limits_judge(stable: Counters, weight: int) -> None:
    found = verdicts(stable, counted(100, 6, mean=1.6, client_errors=90), weight=weight)
    assert found == {
        "error rate": "fail",
        "error rate against stable": "skip",
        "mean latency": "fail",
        "mean latency against stable": "skip",
        "client errors against stable": "skip",
        "client errors": "fail",
    }


@pytest.mark.parametrize(("refused", "verdict"), [(50, "pass"), (51, "fail")])
def test_with_nothing_to_compare_a_canary_may_refuse_half_of_what_it_is_asked(refused: int, verdict: str) -> None:
    assert verdicts(Counters(), counted(100, client_errors=refused))["client errors"] == verdict
    assert verdicts(STABLE, counted(100, client_errors=refused), weight=100)["client errors"] == verdict
    assert verdicts(STABLE, counted(100, client_errors=refused))["client errors"] == "skip"


def test_a_stable_version_that_answers_in_no_measurable_time_sets_no_latency_limit() -> None:
    assert verdicts(counted(100, mean=0), counted(100, mean=0.1))["mean latency against stable"] == "skip"


def test_a_canary_whose_answers_were_never_timed_has_no_latency() -> None:
    canary = Counters(requests=100)
    assert verdicts(STABLE, canary)["mean latency"] == "skip"


def test_a_limit_of_null_is_off() -> None:
    off: dict[str, Any] = dict.fromkeys(
        ("maxErrorRate", "maxErrorRatio", "maxMeanLatency", "maxLatencyRatio", "maxClientErrorExcess"), None
    )
    assert set(verdicts(STABLE, counted(100, 100, mean=9), **off).values()) == {"skip"}


def reading(stable: int, canary: int, *, source: str = "x", errors: int = 0) -> Reading:
    return Reading(at=0, stable={source: counted(stable)}, canary={source: counted(canary, errors)})


def test_the_first_reading_only_marks_where_counting_starts() -> None:
    assert accumulate(Pair(), None, reading(500, 50)) == Pair()


def test_counts_since_the_last_reading_are_added() -> None:
    total = accumulate(Pair(), reading(500, 50), reading(700, 60, errors=2))
    assert (total.stable.requests, total.canary.requests, total.canary.errors) == (200, 10, 2)


@pytest.mark.parametrize("source", ["x", "y"])
def test_a_counter_that_started_again_loses_nothing(source: str) -> None:
    total = accumulate(Pair(), reading(500, 50), reading(30, 3, source=source))
    assert (total.stable.requests, total.canary.requests) == (30, 3)


def test_another_source_counts_from_zero_even_where_its_numbers_are_higher() -> None:
    total = accumulate(Pair(), reading(500, 50), reading(600, 60, source="restarted"))
    assert (total.stable.requests, total.canary.requests) == (600, 60)


def test_pods_are_counted_one_by_one_and_one_that_comes_back_is_not_counted_twice() -> None:
    first = Reading(at=0, stable={}, canary={"a": counted(50), "b": counted(50)})
    without_b = Reading(at=1, stable={}, canary={"a": counted(60, 1)})
    again = Reading(at=2, stable={}, canary={"a": counted(60, 1), "b": counted(55), "c": counted(7)})

    total = accumulate(Pair(), first, without_b)
    assert (total.canary.requests, total.canary.errors) == (10, 1)
    total = accumulate(total, merged(first, without_b), again)
    assert (total.canary.requests, total.canary.errors) == (22, 1)


@pytest.mark.parametrize(
    ("reads", "blocks"),
    [
        ([(10, 0)], 0),
        ([(4, 4), (6, 0)], 1),  # four that fail together are one block
        ([(4, 4), (6, 6)], 1),
        ([(5, 1), (5, 0), (5, 1)], 2),
        ([(10, 10), (10, 0), (10, 1)], 2),
        ([(100, 4)], 4),  # order unknown inside a reading: spread
        ([(100, 60)], 10),
    ],
)
def test_blocks_of_ten_with_an_error_are_counted(reads: list[tuple[int, int]], blocks: int) -> None:
    total = Counters()
    for requests, errors in reads:
        total = grow(total, counted(requests, errors))
    assert total.error_blocks == blocks


@given(st.lists(st.lists(st.booleans(), max_size=60), max_size=12))
def test_blocks_are_never_too_few_and_exact_in_small_readings(reads: list[list[bool]]) -> None:
    total, every = Counters(), [failed for read in reads for failed in read]
    for read in reads:
        total = grow(total, counted(len(read), sum(read)))
    true = sum(any(every[start : start + 10]) for start in range(0, len(every), 10))
    assert total.error_blocks >= true
    assert total.error_blocks <= total.errors
    single = Counters()
    for failed in every:
        single = grow(single, counted(1, int(failed)))
    assert single.error_blocks == true
