"""Releases driven by `torchfinch controller` on a real API server, by kubectl as a user has it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from release.cluster.place import ROOT, Cluster, Controller
from release.cluster.world import World
from waiting import within

from torchfinch.release.cluster.crd import definition
from torchfinch.release.history import read_history
from torchfinch.release.simulation.replay import rejudge
from torchfinch.report.releases import read_releases

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
    assert any(check["verdict"] == "fail" for line in controller.lines() for check in line.get("checks", []))


def test_every_look_is_recorded_to_be_judged_by_another_rule_and_a_full_disk_stops_no_rollback(
    cluster: Cluster, world: World, controller: Controller, tmp_path: Path
) -> None:
    world.error_rate |= {"2.0": 0.015, "3.0": 0.3}
    cluster.release_version("2.0")
    cluster.wait("Promoted")
    recorded = tmp_path / "looks" / cluster.namespace / "digits.jsonl"
    [release] = rejudge(read_history(recorded), {"maxErrorRate": 0.005})
    assert release.outcome == "Promoted"
    assert release.back
    assert release.back.weight == 25
    [page] = read_releases(recorded).releases
    assert page.outcome == "promoted"

    recorded.rename(recorded.with_suffix(".whole"))
    recorded.mkdir()  # stands for any fault of the disk
    cluster.release_version("3.0")
    cluster.wait("RolledBack")
    assert controller.log.count("a look is not recorded") == 1


def test_whoever_waits_for_the_version_and_then_for_the_promotion_is_not_told_of_the_one_before(
    cluster: Cluster, world: World, controller: Controller
) -> None:
    for version in ("2.0", "3.0"):
        cluster.release_version(version)
        cluster("wait", "canary/digits", f"--for=jsonpath={{.status.canary.version}}={version}", "--timeout=60s")
        cluster.wait("Promoted")
        stable = cluster.get("deployment", "digits-stable")["spec"]["template"]
        assert stable["metadata"]["labels"]["app.kubernetes.io/version"] == version


def test_a_promotion_that_hangs_is_told_and_leaves_users_with_the_canary(
    cluster: Cluster, world: World, controller: Controller
) -> None:
    cluster("rollout", "pause", "deployment/digits-stable")
    cluster.release_version("2.0")
    assert within(60, lambda: cluster.weights == (0, 100))
    cluster.patch("canary", "digits", {"spec": {"progressDeadline": "5s"}})
    cluster("wait", "canary/digits", "--for=condition=Progressing=false", "--timeout=90s")
    assert "stable is not ready with it after 5 s" in cluster.get("canary", "digits")["status"]["reason"]
    assert cluster.weights == (0, 100)
    cluster("rollout", "resume", "deployment/digits-stable")
    cluster.wait("Promoted")
    assert cluster.weights == (100, 0)


def test_an_undo_of_stable_after_a_promotion_is_no_promotion_any_more_and_retry_releases_again(
    cluster: Cluster, world: World, controller: Controller
) -> None:
    cluster.release_version("2.0")
    cluster.wait("Promoted")
    cluster("rollout", "undo", "deployment/digits-stable")
    cluster.wait("RolledBack")
    assert "1.0 is stable, by hand" in cluster.get("canary", "digits")["status"]["reason"]
    cluster.patch("canary", "digits", {"spec": {"action": {"type": "retry", "id": "again"}}})
    cluster.wait("Promoted")


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


@pytest.fixture
def older_schema(cluster: Cluster) -> Iterator[None]:
    """Without the rule that a Prometheus needs its address, as if the controller were newer than the schema."""
    place = ("spec", "versions", 0, "schema", "openAPIV3Schema", "properties", "spec", "x-kubernetes-validations")
    rules: Any = definition()
    for part in place:
        rules = rules[part]
    kept = [each for each in rules if "needs its address" not in each["message"]]
    patch = json.dumps([{"op": "replace", "path": "/" + "/".join(map(str, place)), "value": kept}])
    cluster("patch", "crd", "canaryreleases.torchfinch.dev", "--type", "json", "--patch", patch)
    yield
    cluster("apply", "--server-side", "--force-conflicts", "-k", str(ROOT / "k8s" / "crd"))


def test_a_spec_that_the_controller_cannot_read_stops_no_rollback_and_a_new_controller_says_what_is_wrong(
    cluster: Cluster, world: World, controller: Controller, older_schema: None
) -> None:
    def broken() -> bool:
        change = json.dumps({"spec": {"evidence": {"kind": "Prometheus", "address": ""}}})
        return cluster.run("patch", "canary", "digits", "--type", "merge", "--patch", change).returncode == 0

    cluster.patch("canary", "digits", {"spec": {"analysis": {"minRequests": 100000}}})
    cluster.release_version("2.0")
    assert within(60, lambda: cluster.weights == (75, 25))
    assert within(20, broken)
    cluster("scale", "deployment", "digits-canary", "--replicas", "0")
    cluster.wait("RolledBack")
    assert cluster.weights == (100, 0)

    controller.process.terminate()  # the Lease is given back: a new one need not wait
    controller.process.wait(20)
    controller.start()
    said = "spec.evidence: kind Prometheus needs its address"
    assert within(40, lambda: said in cluster.get("canary", "digits")["status"]["reason"])
    found = {each["type"]: each for each in cluster.get("canary", "digits")["status"]["conditions"]}
    assert (found["Progressing"]["reason"], found["RolledBack"]["status"]) == ("InvalidSpec", "True")
    cluster.patch("canary", "digits", {"spec": {"evidence": world.evidence}})
    assert within(40, lambda: "no ready endpoint" in cluster.get("canary", "digits")["status"]["reason"])
