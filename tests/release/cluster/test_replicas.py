"""Numbers of pods as a weight, without a cluster."""

from dataclasses import replace

import pytest
from release.cluster.objects import MARK, Object, applied, deployment

from torchfinch.errors import TorchfinchError
from torchfinch.release.cluster.marks import ANNOTATION, annotate
from torchfinch.release.cluster.replicas import Ratio, canary_pods, ratio_arms
from torchfinch.release.state import Mark, Phase


@pytest.mark.parametrize(
    ("pods", "weight", "own"), [(4, 0, 0), (4, 5, 1), (4, 50, 2), (4, 100, 3), (10, 25, 2), (1, 50, 0), (0, 50, 0)]
)
def test_a_share_of_pods_has_at_least_one_of_each(pods: int, weight: int, own: int) -> None:
    assert canary_pods(pods, weight) == own


def test_the_mark_says_which_weight_a_number_of_pods_stands_for() -> None:
    stable, canary = deployment("stable", replicas=4), deployment("canary", replicas=0)
    settle(stable, canary, MARK)
    assert numbers(stable, canary) == (3, 1)
    assert Ratio(stable, canary).read().weight == 25
    canary["spec"]["replicas"] = 2
    assert Ratio(stable, canary).read().weight == 40


def numbers(stable: Object, canary: Object) -> tuple[int, int]:
    return stable["spec"]["replicas"], canary["spec"]["replicas"]


def available(*deployments: Object) -> int:
    return sum(min(each["status"]["availableReplicas"], each["spec"]["replicas"]) for each in deployments)


def settle(stable: Object, canary: Object, mark: Mark) -> int:
    """Step to the split, while one pod after the other becomes ready; the fewest that were ready meanwhile."""
    fewest = available(stable, canary)
    for _ in range(100):
        patches = list(Ratio(stable, canary).patches(mark, release="digits"))
        if not patches and available(stable, canary) == sum(numbers(stable, canary)):
            return fewest
        for _, found, patch in patches:
            applied(found, patch)
        fewest = min(fewest, available(stable, canary))
        for each in (stable, canary):
            wanted, ready = each["spec"]["replicas"], each["status"]["availableReplicas"]
            each["status"]["availableReplicas"] = min(ready + 1, wanted)
    raise AssertionError("it never comes to rest")


@pytest.mark.parametrize(("unavailable", "fewest"), [(0, 10), ("25%", 8)])
def test_no_more_pods_are_ended_than_are_ready_in_their_place(unavailable: int | str, fewest: int) -> None:
    stable, canary = deployment("stable", replicas=10), deployment("canary", replicas=0)
    stable["spec"]["strategy"] = {"rollingUpdate": {"maxUnavailable": unavailable}}
    for weight, reached in ((5, (9, 1)), (50, (5, 5)), (100, (1, 9)), (0, (10, 0))):
        assert settle(stable, canary, replace(MARK, weight=weight)) >= fewest
        assert numbers(stable, canary) == reached


def test_a_split_is_there_when_all_its_pods_are_and_a_rollback_when_the_last_one_has_gone() -> None:
    stable, canary = deployment("stable", replicas=2), deployment("canary", replicas=0)
    for _, found, patch in Ratio(stable, canary).patches(MARK, release="digits"):
        applied(found, patch)
    assert numbers(stable, canary) == (2, 1)
    read = Ratio(stable, canary).read()
    assert (read.weight, read.synced) == (25, False)
    settle(stable, canary, MARK)
    read = Ratio(stable, canary).read()
    assert (read.weight, read.synced) == (25, True)

    back = replace(MARK, weight=0, phase=Phase.ROLLING_BACK)
    for _, found, patch in Ratio(stable, canary).patches(back, release="digits"):
        applied(found, patch)
    assert numbers(stable, canary) == (2, 1)
    assert Ratio(stable, canary).read().weight > 0
    settle(stable, canary, back)
    assert numbers(stable, canary) == (2, 0)
    assert Ratio(stable, canary).read().weight == 0


def test_a_canary_that_is_not_ready_is_dropped_at_once() -> None:
    stable, canary = deployment("stable", replicas=10), deployment("canary", replicas=0)
    settle(stable, canary, replace(MARK, weight=100))
    canary["status"]["availableReplicas"] = 0
    back = replace(MARK, weight=0, phase=Phase.ROLLING_BACK)
    for _, found, patch in Ratio(stable, canary).patches(back, release="digits"):
        applied(found, patch)
    assert numbers(stable, canary) == (10, 0)


@pytest.mark.parametrize("weights", [(25, 0), (50, 0), (100, 0), (50, 25)])
def test_a_split_of_pods_that_is_cut_off_midway_and_done_again_leaves_as_many_pods(weights: tuple[int, int]) -> None:
    stable, canary = deployment("stable", replicas=8), deployment("canary", replicas=0)
    for weight in weights:
        mark = replace(MARK, weight=weight)
        for _ in range(8):
            first, *_ = [*Ratio(stable, canary).patches(mark, release="digits"), None]
            if first:
                applied(first[1], first[2])  # and the second, if there is one, meets a conflict
            for each in (stable, canary):
                each["status"]["availableReplicas"] = each["spec"]["replicas"]
        settle(stable, canary, mark)
        own = canary_pods(8, weight)
        assert numbers(stable, canary) == (8 - own, own)


def test_the_pods_of_a_deleted_release_go_as_stables_become_ready_and_then_the_mark_goes() -> None:
    stable, canary = deployment("stable", replicas=8), deployment("canary", replicas=0)
    stable["spec"]["strategy"] = {"rollingUpdate": {"maxUnavailable": 0}}
    settle(stable, canary, replace(MARK, weight=100))
    assert numbers(stable, canary) == (1, 7)
    for _ in range(20):
        if not canary["metadata"]["annotations"]:
            break
        for _, found, patch in Ratio(stable, canary).cleared():
            applied(found, patch)
        assert available(stable, canary) >= 8
        stable["status"]["availableReplicas"] = min(stable["status"]["availableReplicas"] + 1, 8)
    assert not canary["metadata"]["annotations"]
    assert numbers(stable, canary) == (8, 0)


@pytest.mark.parametrize(("scaled", "reached"), [(8, (5, 5)), (1, (1, 2))])
def test_what_somebody_adds_to_stables_pods_or_takes_from_them_amid_a_split_is_shared(
    scaled: int, reached: tuple[int, int]
) -> None:
    stable, canary = deployment("stable", replicas=4), deployment("canary", replicas=0)
    half = replace(MARK, weight=50)
    settle(stable, canary, half)
    stable["spec"]["replicas"] = scaled
    assert Ratio(stable, canary).read().weight == 50, "nobody has changed the canary's share by hand"
    settle(stable, canary, half)
    assert numbers(stable, canary) == reached
    settle(stable, canary, replace(MARK, weight=0))
    assert numbers(stable, canary) == (sum(reached), 0)


@pytest.mark.parametrize(("own", "weight"), [(2, 25), (1, 11)])
def test_a_mark_that_is_put_back_takes_a_changed_number_of_pods_for_a_weight_by_hand(own: int, weight: int) -> None:
    stable, canary = deployment("stable", replicas=10), deployment("canary", replicas=0)
    settle(stable, canary, MARK)
    canary["metadata"]["annotations"].clear()
    canary["spec"]["replicas"] = own
    for _, found, patch in Ratio(stable, canary).marked(MARK, release="digits"):
        applied(found, patch)
    assert numbers(stable, canary) == (8, own)
    assert (Ratio(stable, canary).read().weight, Ratio(stable, canary).read().mark) == (weight, MARK)
    settle(stable, canary, replace(MARK, weight=0))
    assert numbers(stable, canary) == (8 + own, 0)


def test_a_single_pod_cannot_be_split_and_the_reason_says_how_many_are_needed() -> None:
    stable, canary = deployment("stable", replicas=1), deployment("canary", replicas=0)
    with pytest.raises(TorchfinchError, match="stable needs 2 or more"):
        list(Ratio(stable, canary).patches(MARK, release="digits"))
    unmarked = ratio_arms(stable, canary, weight=0)[1]
    assert (unmarked.ready, unmarked.lacks) == (0, "no share can be split off 1 pod: stable needs 2 or more")
    settle(stable, canary, replace(MARK, weight=0))
    assert ratio_arms(stable, canary, weight=0)[1] == unmarked


def test_pods_of_a_status_that_tells_of_other_numbers_are_not_counted_as_ready() -> None:
    stable, canary = deployment("stable", replicas=4), deployment("canary", replicas=4)
    stable["spec"]["strategy"] = {"rollingUpdate": {"maxUnavailable": 0}}
    stable["spec"]["replicas"] = 8  # just now, and 4 of the 8 that its status names are being ended
    stable["status"] |= {"availableReplicas": 8, "observedGeneration": stable["metadata"]["generation"]}
    stable["metadata"]["generation"] += 1
    assert settle_once(stable, canary) == 4

    stable["status"]["observedGeneration"] = stable["metadata"]["generation"]
    assert settle_once(stable, canary) == 0


def settle_once(stable: Object, canary: Object) -> int:
    """The canary's pods after one step back to stable."""
    back = replace(MARK, weight=0, phase=Phase.ROLLING_BACK)
    told = {"stable": "stable", "pods": 8, "own": 4, "beside": [4, 8]}
    canary["metadata"].setdefault("annotations", {})
    canary["metadata"]["annotations"][ANNOTATION] = annotate(canary, back, release="digits", backends=told)[0]["value"]
    for _, found, patch in Ratio(stable, canary).patches(back, release="digits"):
        applied(found, patch)
    return int(canary["spec"]["replicas"])
