"""The filter that copies requests, and the route of forced versions, on objects without a cluster."""

import re
from copy import deepcopy
from typing import Any

import pytest
from release.cluster.objects import MARK, applied, http_route

from torchfinch.release.cluster.forced import belongs_to, forced_route, is_as
from torchfinch.release.cluster.marks import owner
from torchfinch.release.cluster.mirrors import mirror_patch, mirrored, without_mirror
from torchfinch.release.cluster.routes import GatewayApi, RouteWeights
from torchfinch.release.manifest.options import Force
from torchfinch.release.state import Mark, Phase

Object = dict[str, Any]
HEADER: Object = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["x"]}}
ELSEWHERE: Object = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "audit", "port": 1}}}


def split(route: Object) -> RouteWeights:
    return RouteWeights(route, GatewayApi(), None, "digits-stable", "digits-canary")


def mark(mirror: int, weight: int = 0) -> Mark:
    return Mark(revision=4, phase=Phase.SHADOWING, canary="c", weight=weight, mirror=mirror, reason="copies first")


@pytest.mark.parametrize("filters", [None, [HEADER], [ELSEWHERE], [HEADER, ELSEWHERE]])
def test_one_filter_is_added_and_taken_away_and_all_others_stay(filters: list[Object] | None) -> None:
    route = http_route(100, 0, annotations={})
    if filters:
        route["spec"]["rules"][1]["filters"] = filters
    before = deepcopy(route)

    [(_, _, patch)] = split(route).patches(mark(30), release="digits")
    during = applied(deepcopy(route), patch)
    shown = split(during).read()
    assert (shown.weight, shown.mirror, shown.mark) == (0, 30, mark(30))
    added = during["spec"]["rules"][1]["filters"][-1]["requestMirror"]
    assert added == {"backendRef": {"name": "digits-canary", "port": 8080}, "percent": 30}

    [(_, _, patch)] = split(during).patches(MARK, release="digits")
    after = applied(deepcopy(during), patch)
    assert after["spec"]["rules"][1].get("filters") == before["spec"]["rules"][1].get("filters")
    assert (split(after).read().weight, split(after).read().mirror) == (25, 0)


def test_another_part_is_copied_by_the_same_filter() -> None:
    rule: Object = {"filters": [HEADER], "backendRefs": [{"name": "c", "port": 1}]}
    holder = {"rule": rule}
    for percent in (30, 100):
        applied(holder, mirror_patch(rule, "/rule", "c", percent))
        assert (mirrored(rule, "c"), len(rule["filters"])) == (percent, 2)
    assert mirror_patch(rule, "/rule", "c", 100) == []
    assert "percent" not in rule["filters"][1]["requestMirror"], "all is what a gateway does without it"


def test_rules_that_copy_differently_show_what_is_not_wanted() -> None:
    route = http_route(100, 0, annotations={})
    route["spec"]["rules"].append(deepcopy(route["spec"]["rules"][1]))
    [(_, _, patch)] = split(route).patches(mark(50), release="digits")
    applied(route, patch)
    assert split(route).read().mirror == 50
    del route["spec"]["rules"][2]["filters"]
    assert split(route).read().mirror == 0


def test_a_release_deleted_amid_the_copies_leaves_no_filter() -> None:
    route = http_route(100, 0, annotations={"mine": "1"})
    before = deepcopy(route)
    [(_, _, patch)] = split(route).patches(mark(50), release="digits")
    during = applied(route, patch)
    owned = owner(during)
    assert owned
    assert applied(during, RouteWeights(during, GatewayApi(), **owned[1]).cleared()) == before


# --- forced versions ---

RELEASE: Object = {"metadata": {"name": "digits", "namespace": "d", "uid": "u-1"}}
FORCE = Force(header="x-version", cookie="version")
PREDICTIONS = {"type": "PathPrefix", "value": "/predictions"}
BOTH: dict[Any, str] = {"stable": "digits-stable", "canary": "digits-canary"}


def forced(route: Object, choices: dict[Any, str], force: Force = FORCE) -> Object:
    return forced_route(RELEASE, route, force, choices, rules=split(route).split_rules())


def test_each_rule_that_splits_can_be_chosen_by_header_or_cookie() -> None:
    route = http_route(75, 25)
    route["spec"] |= {"parentRefs": [{"name": "gw"}], "hostnames": ["a.test"]}
    route["spec"]["rules"][1] |= {
        "name": "predict",
        "matches": [
            {"path": {"type": "PathPrefix", "value": "/predictions"}, "headers": [{"name": "a", "value": "b"}]}
        ],
        "filters": [HEADER],
        "timeouts": {"request": "10s"},
    }
    made = forced(route, BOTH)

    assert made["metadata"]["name"] == "digits-forced"
    assert belongs_to(made, RELEASE)
    assert (made["spec"]["parentRefs"], made["spec"]["hostnames"]) == ([{"name": "gw"}], ["a.test"])
    stable, canary = made["spec"]["rules"]
    assert [each["backendRefs"] for each in (stable, canary)] == [
        [{"name": f"digits-{track}", "port": 8080, "filters": ["kept"]}] for track in ("stable", "canary")
    ]
    assert (canary["filters"], canary["timeouts"]) == ([HEADER], {"request": "10s"})
    assert "name" not in canary
    by_header, by_cookie = canary["matches"]
    assert by_header["path"] == PREDICTIONS
    assert by_header["headers"] == [
        {"name": "a", "value": "b"},
        {"type": "Exact", "name": "x-version", "value": "canary"},
    ]
    assert by_cookie["headers"][1]["type"] == "RegularExpression"


def test_a_rule_without_matches_is_chosen_on_every_path() -> None:
    [rule] = forced(http_route(100, 0), {"stable": "digits-stable"}, Force(header="x"))["spec"]["rules"]
    [match] = rule["matches"]
    assert match["path"] == {"type": "PathPrefix", "value": "/"}
    assert match["headers"] == [{"type": "Exact", "name": "x", "value": "stable"}]


def test_a_forced_request_is_not_copied() -> None:
    route = http_route(100, 0, annotations={})
    [(_, _, patch)] = split(route).patches(mark(50), release="digits")
    applied(route, patch)
    assert "filters" not in forced(route, BOTH)["spec"]["rules"][0]
    assert without_mirror(route["spec"]["rules"][1], "digits-canary").get("filters") is None


def test_what_an_api_server_adds_is_no_difference() -> None:
    wanted = forced(http_route(75, 25), BOTH)
    found = deepcopy(wanted)
    found["metadata"]["resourceVersion"] = "7"
    found["spec"]["rules"][0]["backendRefs"][0] |= {"weight": 1, "kind": "Service"}
    assert is_as(found, wanted)
    found["spec"]["rules"][0]["backendRefs"][0]["port"] = 9
    assert not is_as(found, wanted)
    assert not is_as({**found, "spec": {"rules": []}}, wanted)
    assert not is_as(None, wanted)


@pytest.mark.parametrize(
    ("cookies", "chosen"),
    [
        ("version=canary", True),
        ("a=1; version=canary; b=2", True),
        ("a=1;version=canary ; b=2", True),
        ("version=canaries", False),
        ("my-version=canary", False),
        ("version=stable", False),
        ("a=version=canary", False),
    ],
)
def test_a_cookie_is_found_among_others_and_not_in_them(cookies: str, chosen: bool) -> None:
    assert bool(re.fullmatch(FORCE.cookie_pattern("canary"), cookies)) is chosen
