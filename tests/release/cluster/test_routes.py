"""How the weights of a route are read and changed, without a cluster."""

from dataclasses import replace

import pytest
from release.cluster.objects import MARK, Object, applied, http_route

from torchfinch.errors import TorchfinchError
from torchfinch.release.cluster.kinds import HTTP_ROUTES
from torchfinch.release.cluster.marks import owner
from torchfinch.release.cluster.routes import GatewayApi, Istio, RouteWeights


def weights_of(route: Object, rule: int = 1) -> list[int]:
    return [backend["weight"] for backend in route["spec"]["rules"][rule]["backendRefs"]]


def test_only_two_weights_and_one_annotation_of_a_route_are_changed() -> None:
    before, route = http_route(100, 0, annotations={"mine": "1"}), http_route(100, 0, annotations={"mine": "1"})
    [(kind, _, patch)] = RouteWeights(route, GatewayApi(), None, "digits-stable", "digits-canary").patches(
        MARK, release="digits"
    )
    after = applied(route, patch)

    assert kind is HTTP_ROUTES
    assert weights_of(after) == [75, 25]
    read = RouteWeights(after, GatewayApi(), None, "digits-stable", "digits-canary").read()
    assert (read.weight, read.mark, read.synced) == (25, MARK, True)
    owned = owner(after)
    assert owned
    cleared = applied(after, RouteWeights(after, GatewayApi(), **owned[1]).cleared())
    assert cleared == before


def test_a_baseline_has_its_share_only_while_it_answers_and_none_once_the_split_is_cleared() -> None:
    def split(route: Object, *, answers: bool = True) -> RouteWeights:
        return RouteWeights(route, GatewayApi(), None, "digits-stable", "digits-canary", "digits-other", answers)

    [(_, route, patch)] = split(http_route(100, 0, 0)).patches(MARK, release="digits")
    assert weights_of(applied(route, patch)) == [50, 25, 25]
    read = split(route).read()
    assert (read.weight, read.baseline) == (25, 25)

    [(_, _, patch)] = split(route, answers=False).balanced(release="digits")
    assert weights_of(applied(route, patch)) == [75, 25, 0]
    assert split(route).read().mark == MARK

    [(_, _, patch)] = split(route).balanced(release="digits")
    owned = owner(applied(route, patch))
    assert owned
    assert weights_of(route) == [50, 25, 25]
    assert weights_of(applied(route, RouteWeights(route, GatewayApi(), **owned[1]).cleared())) == [100, 0, 0]


def test_a_mark_that_is_put_back_leaves_the_weights_and_names_all_that_must_be_cleared() -> None:
    route = http_route(60, 10, 10, annotations={"mine": "1"})
    split = RouteWeights(route, GatewayApi(), None, "digits-stable", "digits-canary", "digits-other", True)
    [(_, _, patch)] = split.marked(MARK, release="digits")
    assert weights_of(applied(route, patch)) == [60, 10, 10]
    assert split.read().mark == MARK
    owned = owner(route)
    assert owned
    assert weights_of(applied(route, RouteWeights(route, GatewayApi(), **owned[1]).cleared())) == [100, 0, 0]
    assert route["metadata"]["annotations"] == {"mine": "1"}


def test_a_rule_without_the_baseline_is_driven_all_the_same_and_told() -> None:
    split = RouteWeights(http_route(100, 0), GatewayApi(), None, "digits-stable", "digits-canary", "digits-other", True)
    assert split.read().baseline is None
    [(_, route, patch)] = split.patches(MARK, release="digits")
    assert weights_of(applied(route, patch)) == [75, 25]


def test_no_weight_is_ever_negative() -> None:
    for total in (103, 175):
        route = http_route(total, 0, 0, 50)
        route["spec"]["rules"][1]["backendRefs"].append({"name": "beside", "port": 8080, "weight": 50})
        split = RouteWeights(route, GatewayApi(), None, "digits-stable", "digits-canary", "digits-other", True)
        [(_, _, patch)] = split.patches(replace(MARK, weight=50), release="digits")
        assert min(weights_of(applied(route, patch))) == 0


def test_a_third_backend_keeps_its_share_or_the_route_is_refused() -> None:
    shared = RouteWeights(http_route(180, 20, 100), GatewayApi(), None, "digits-stable", "digits-canary")
    [(_, route, patch)] = shared.patches(MARK, release="digits")
    assert weights_of(applied(route, patch)) == [150, 50, 100]
    with pytest.raises(TorchfinchError, match="together have weight 9"):
        RouteWeights(http_route(8, 1, 1), GatewayApi(), None, "digits-stable", "digits-canary").patches(
            MARK, release="d"
        )


@pytest.mark.parametrize(
    ("change", "synced", "trouble"),
    [
        ({}, True, ""),
        ({"observedGeneration": 3}, False, ""),
        ({"status": "False", "message": "no such gateway"}, False, "no such gateway"),
    ],
)
def test_a_weight_counts_when_the_gateway_has_accepted_the_newest_route(
    change: Object, synced: bool, trouble: str
) -> None:
    route = http_route(90, 10)
    route["status"]["parents"][0]["conditions"][0].update(change)
    split = RouteWeights(route, GatewayApi(), None, "digits-stable", "digits-canary").read()
    assert split.synced is synced
    assert trouble in "".join(split.trouble)


def test_a_route_that_nobody_has_accepted_is_not_synced() -> None:
    route = {**http_route(90, 10), "status": {}}
    assert not RouteWeights(route, GatewayApi(), None, "digits-stable", "digits-canary").read().synced


def test_a_route_without_both_backends_is_told() -> None:
    with pytest.raises(TorchfinchError, match="no rule of HTTPRoute digits has both digits-stable and elsewhere"):
        RouteWeights(http_route(100, 0), GatewayApi(), None, "digits-stable", "elsewhere").read()


def test_a_virtual_service_is_split_by_hosts_however_they_are_written() -> None:
    hosts = ("digits-stable.d.svc.cluster.local", "digits-canary")
    routes = [{"destination": {"host": host}, "weight": weight} for host, weight in zip(hosts, (90, 10), strict=True)]
    found = {"metadata": {"name": "v", "resourceVersion": "1"}, "spec": {"http": [{"route": routes}]}}
    weights = RouteWeights(found, Istio(), None, "digits-stable", "digits-canary")
    assert weights.read().weight == 10
    [(_, route, patch)] = weights.patches(MARK, release="digits")
    assert [each["weight"] for each in applied(route, patch)["spec"]["http"][0]["route"]] == [75, 25]
