"""The same inputs for both versions, on a real API server; `test_everything` sends them to real pods."""

import json

import pytest
from release.cluster.place import Cluster, Controller
from release.cluster.world import World
from waiting import within

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def reason(cluster: Cluster) -> str:
    return str(cluster.get("canary", "digits")["status"]["reason"])


def test_a_controller_without_inputs_says_so_and_gives_the_canary_no_user_until_none_are_wanted(
    cluster: Cluster, world: World, controller: Controller
) -> None:
    cluster.patch("canary", "digits", {"spec": {"diff": {"inputs": "digits"}}})
    cluster.release_version("2.0")
    said = "same inputs: the controller was started without --inputs"
    assert within(60, lambda: reason(cluster) == said), reason(cluster)
    [check] = cluster.get("canary", "digits")["status"]["checks"]
    assert (check["name"], check["verdict"]) == ("same inputs", "hold")
    assert cluster.weights == (100, 0)

    cluster.patch("canary", "digits", {"spec": {"diff": None}})
    cluster.wait("Promoted", seconds=90)


def test_what_makes_no_sense_is_refused_by_the_api_server(cluster: Cluster) -> None:
    for change, said in (
        ({"diff": {}}, "spec.diff.inputs: Required value"),
        ({"diff": {"inputs": "../keys"}}, "spec.diff.inputs"),
        ({"diff": {"inputs": "/etc"}}, "spec.diff.inputs"),
        ({"diff": {"inputs": "a", "maxDisagreement": 2}}, "spec.diff.maxDisagreement"),
        ({"diff": {"inputs": "a"}, "route": {"kind": "Replicas", "name": None}}, "diff needs a router"),
    ):
        done = cluster.run("patch", "canary", "digits", "--type", "merge", "--patch", json.dumps({"spec": change}))
        assert said in done.stderr, done
