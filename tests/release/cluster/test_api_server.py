"""Releases driven by `torchfinch controller` on a real API server, by kubectl as a user has it."""

import json
import time

import pytest
from release.cluster.conftest import Cluster, Controller, World
from waiting import within

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_a_good_version_is_promoted_and_a_failing_one_is_taken_back(
    cluster: Cluster, world: World, controller: Controller
) -> None:
    world.error_rate["3.0"] = 0.3
    cluster.release_version("2.0")
    cluster.wait("Promoted")

    assert cluster.weights == (100, 0)
    stable = cluster.get("deployment", "digits-stable")["spec"]["template"]
    assert stable["metadata"]["labels"]["app.kubernetes.io/version"] == "2.0"
    assert stable["metadata"]["labels"]["track"] == "stable"
    assert within(20, lambda: cluster.get("deployment", "digits-canary")["spec"]["replicas"] == 0)
    seen = [each["weight"] for each in cluster.get("canary", "digits")["status"]["decisions"]]
    assert list(dict.fromkeys(seen)) == [0, 25, 50, 100]

    cluster.release_version("3.0")
    cluster.wait("RolledBack")

    assert cluster.weights == (100, 0)
    status = cluster.get("canary", "digits")["status"]
    assert "error rate" in status["reason"]
    assert "endedAt" in status
    listed = cluster("get", "canary", "-o", "wide")
    assert "RolledBack" in listed
    assert "3.0" in listed
    assert "error rate" in cluster("get", "events.events.k8s.io")
    decided = [json.loads(line) for line in controller.log.splitlines() if line.startswith("{")]
    assert any(check["verdict"] == "fail" for line in decided for check in line.get("checks", []))


def test_a_killed_controller_goes_on_where_it_was(cluster: Cluster, world: World, controller: Controller) -> None:
    cluster.release_version("2.0")
    assert within(60, lambda: cluster.weights == (75, 25))
    controller.kill()
    time.sleep(2)
    assert cluster.weights == (75, 25)
    controller.start()
    cluster.wait("Promoted", seconds=90)


def test_without_measurements_the_weight_holds(cluster: Cluster, world: World, controller: Controller) -> None:
    cluster.release_version("2.0")
    assert within(60, lambda: cluster.weights == (75, 25))
    world.answers = False
    cluster.wait("MetricsAvailable=false")
    held = cluster.weights
    time.sleep(3)
    assert cluster.weights == held
    world.answers = True
    cluster.wait("Promoted")


def test_a_weight_lowered_by_hand_is_a_pause_and_abort_takes_the_canary_back(
    cluster: Cluster, world: World, controller: Controller
) -> None:
    cluster.patch("canary", "digits", {"spec": {"analysis": {"minRequests": 100000}}})
    cluster.release_version("2.0")
    assert within(60, lambda: cluster.weights == (75, 25))
    lowered = [
        {"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": 95},
        {"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": 5},
    ]
    cluster("patch", "httproute", "digits", "--type", "json", "--patch", json.dumps(lowered))
    cluster.wait("Paused")
    assert cluster.weights == (95, 5)
    assert "lowered by hand from 25 to 5" in cluster.get("canary", "digits")["status"]["reason"]

    cluster.patch("canary", "digits", {"spec": {"action": {"type": "abort", "id": "stop it"}}})
    cluster.wait("RolledBack")
    assert cluster.weights == (100, 0)


def test_an_undone_rollout_amid_a_release_takes_all_traffic_back(
    cluster: Cluster, world: World, controller: Controller
) -> None:
    cluster.patch("canary", "digits", {"spec": {"analysis": {"minRequests": 100000}}})
    cluster.release_version("2.0")
    assert within(60, lambda: cluster.weights == (75, 25))
    cluster("rollout", "undo", "deployment/digits-canary")
    cluster.wait("RolledBack")
    assert cluster.weights == (100, 0)
    decided = [each["reason"] for each in cluster.get("canary", "digits")["status"]["decisions"]]
    assert "the canary is no longer offered" in decided


def test_a_deleted_release_leaves_all_traffic_on_stable_and_no_trace_in_the_route(
    cluster: Cluster, world: World, controller: Controller
) -> None:
    cluster.patch("canary", "digits", {"spec": {"analysis": {"minRequests": 100000}}})
    cluster.release_version("2.0")
    assert within(60, lambda: cluster.weights == (75, 25))
    cluster("delete", "canary", "digits", "--timeout=10s")
    assert within(20, lambda: cluster.weights == (100, 0))
    assert "torchfinch.dev/release" not in cluster.get("httproute", "digits")["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": [{"weight": 50}, {"weight": 5}]}, "weights must rise from step to step"),
        ({"steps": [{"weight": 5}, {"weight": 5}]}, "every step needs a weight of its own"),
        ({"route": {"name": None}}, "needs its name"),
        ({"analysis": {"maxErrorRate": 0}}, "should be greater than 0"),
        ({"analysis": {"interval": "5"}}, "spec.analysis.interval"),
        ({"stable": None}, "spec.stable"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused_by_the_api_server(
    cluster: Cluster, change: dict[str, object], said: str
) -> None:
    patch = json.dumps({"spec": change})
    done = cluster.run("patch", "canary", "digits", "--type", "merge", "--patch", patch)
    assert done.returncode == 1
    assert said in done.stderr


def test_what_is_released_cannot_change_amid_a_release(cluster: Cluster) -> None:
    cluster.patch("canary", "digits", {"status": {"phase": "Progressing"}}, "--subresource=status")
    patch = json.dumps({"spec": {"canary": {"deployment": "another"}}})
    done = cluster.run("patch", "canary", "digits", "--type", "merge", "--patch", patch)
    assert "cannot change while a release is under way" in done.stderr
