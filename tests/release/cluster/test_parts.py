"""What the controller of a cluster makes of objects, without a cluster."""

import threading
from pathlib import Path

import pytest
from release.cluster.objects import Object, applied, deployment, write_kubeconfig

from torchfinch.release.adapters import View
from torchfinch.release.cluster.api import Api, ApiError
from torchfinch.release.cluster.crd import dump
from torchfinch.release.cluster.evidence import count
from torchfinch.release.cluster.kinds import RELEASES
from torchfinch.release.cluster.queue import Queue
from torchfinch.release.cluster.status import build_status, read_state
from torchfinch.release.cluster.workloads import (
    canary_arm,
    digest,
    endpoints_in,
    stable_arm,
    stuck,
    take_over_patch,
    unlike,
)
from torchfinch.release.decision.rules import accumulate, merged
from torchfinch.release.exposition import samples
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.state import Arm, Counters, Pair, Phase, Reading, State


def test_two_deployments_of_one_version_have_one_digest_and_a_restart_changes_none() -> None:
    stable, canary = deployment("stable"), deployment("canary")
    canary["spec"]["template"]["metadata"]["annotations"] = {"kubectl.kubernetes.io/restartedAt": "now"}
    assert digest(stable) == digest(canary)
    assert digest(stable) != digest(deployment("stable", image="digits:2.0"))


def test_stable_takes_over_the_version_and_keeps_the_labels_that_it_selects_by() -> None:
    stable, canary = deployment("stable"), deployment("canary", image="digits:2.0")
    after = applied(stable, take_over_patch(stable, canary["spec"]["template"]))
    assert digest(after) == digest(canary)
    assert after["spec"]["template"]["metadata"]["labels"]["track"] == "stable"


def test_amid_a_rollout_stable_has_no_version_and_the_canary_cannot_be_told() -> None:
    rolling: Object = {"updatedReplicas": 1}
    assert stable_arm(deployment("stable", **rolling), 2).digest == ""
    assert canary_arm(deployment("canary", **rolling), 2, weight=25).ready is None
    assert canary_arm(deployment("canary"), 1, weight=0).ready is None
    assert canary_arm(deployment("canary"), 1, weight=25).ready == 1
    assert canary_arm(deployment("canary", **rolling), 0, weight=25).ready == 0


def test_endpoints_that_are_still_told_of_a_canary_without_pods_are_none_to_send_users_to() -> None:
    assert canary_arm(deployment("canary", replicas=0), 2, weight=0).ready is None
    assert canary_arm(deployment("canary", replicas=0), 0, weight=0).ready == 0


def test_a_canary_without_its_pods_says_how_many_are_ready_and_what_kubernetes_says_against_more() -> None:
    assert canary_arm(deployment("canary"), 1, weight=0).lacks == "1 of 2 pods are"
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    failing = deployment("canary", conditions=[refused])
    assert canary_arm(failing, 0, weight=0).lacks == "0 of 2 pods are; exceeded quota"
    assert not canary_arm(failing, 0, weight=0).failed, "a quota may be raised: held, not taken back"


def test_a_deployment_that_gave_up_on_an_older_template_says_nothing_of_the_new_one() -> None:
    gave_up = {"type": "Progressing", "status": "False", "message": "timed out"}
    assert stuck(deployment("canary", conditions=[gave_up])) == "timed out"
    assert not stuck(deployment("canary", conditions=[gave_up], observedGeneration=0))


def test_two_deployments_that_select_by_different_labels_cannot_take_over_from_each_other() -> None:
    stable, canary = deployment("stable"), deployment("canary")
    assert unlike(stable, canary) == ""
    stable["spec"]["selector"]["matchLabels"]["track"] = "canary"
    assert unlike(stable, canary).startswith("the Deployments digits-stable and digits-canary select the same pods")
    del stable["spec"]["selector"]["matchLabels"]["track"]
    assert unlike(stable, canary).startswith("Deployment digits-stable selects by app, digits-canary by app, track")
    del stable["spec"]["selector"]["matchLabels"]
    assert unlike(stable, canary).startswith("Deployment digits-stable selects by no label")


def test_only_endpoints_that_are_ready_and_stay_are_counted() -> None:
    endpoints = [
        {"addresses": ["10.0.0.1"], "conditions": {"ready": True}, "targetRef": {"name": "a"}},
        {"addresses": ["10.0.0.2"], "conditions": {"ready": False}, "targetRef": {"name": "b"}},
        {"addresses": ["10.0.0.3"], "conditions": {"ready": True, "terminating": True}, "targetRef": {"name": "c"}},
    ]
    assert endpoints_in([{"endpoints": endpoints}, {"endpoints": None}]) == ({"a": "10.0.0.1"}, ("b", "c"))


def test_an_address_of_ipv6_is_written_as_a_url_needs_it() -> None:
    endpoint = {"addresses": ["fd00::1"], "targetRef": {"name": "a"}}
    assert endpoints_in([{"endpoints": [endpoint]}]).ready == {"a": "[fd00::1]"}


PAGE = """
# HELP ignored
ts_inference_requests_total{model_name="digits",hostname="h",} 40.0
ts_inference_latency_microseconds{model_name="digits"} 4000000.0
Requests2XX{Level="Host",Hostname="h",} 900.0
Requests4XX{Level="Host"} 3.0
Requests5XX{Level="Host"} 2.0
"""
SDK = """
torchfinch_stage_seconds_sum{stage="total",version="1.0"} 0.76
torchfinch_stage_seconds_count{stage="total",version="1.0"} 38.0
torchfinch_stage_seconds_count{stage="decode",version="1.0"} 99.0
torchfinch_stage_seconds_bucket{stage="total",le="0.001"} 5.0
torchfinch_stage_seconds_bucket{stage="total",le="+Inf"} 38.0
"""


def test_a_pods_page_is_counted_by_the_sdk_where_it_tells_and_else_by_torchserve() -> None:
    plain, own = count(samples(PAGE), "digits"), count(samples(PAGE + SDK), "digits")
    assert (plain.requests, plain.errors, plain.client_errors) == (40, 2, 3)
    assert (plain.latency_sum, plain.latency_count, plain.latency_buckets) == (4.0, 38, ())
    assert (own.latency_sum, own.latency_count) == (0.76, 38)
    assert (own.latency_buckets[0], own.latency_buckets[-1]) == (5, 38)


BESIDE = """
ts_inference_requests_total{model_name="letters",model_version="default"} 7000
ts_inference_latency_microseconds{model_name="letters"} 9e9
torchfinch_stage_seconds_sum{stage="total",model="letters",version="1.0"} 900
torchfinch_stage_seconds_count{stage="total",model="letters",version="1.0"} 7000
torchfinch_predictions_total{model="letters",class="3"} 7000
"""


def test_of_a_pod_with_two_models_only_the_one_that_is_released_is_counted() -> None:
    own = SDK.replace("{", '{model="digits",')
    assert count(samples(PAGE + BESIDE + own), "digits") == count(samples(PAGE + own), "digits")
    idle = count(samples(BESIDE + own), "digits")
    assert (idle.requests, idle.latency_count, idle.classes) == (0, 38, ())


def test_an_archive_that_is_served_by_another_name_than_its_own_is_timed_by_its_handler_too() -> None:
    other = count(samples(PAGE + SDK.replace("{", '{model="digits-of-may",')), "digits")
    assert other == count(samples(PAGE + SDK), "digits")


def seen(requests: int, *, refused: int = 0, failed: int = 0, pod: str = "a") -> Reading:
    page = f"ts_inference_requests_total {requests}\nRequests4XX {refused}\nRequests5XX {failed}\n"
    return Reading(at=0, stable={}, canary={pod: count(samples(page), "digits")})


def judged(*readings: Reading) -> tuple[int, int, int]:
    """Requests, client errors and errors of the canary after these looks."""
    total, last = Pair(), readings[0]
    for reading in readings[1:]:
        total, last = accumulate(total, last, reading), merged(last, reading)
    return total.canary.requests, total.canary.client_errors, total.canary.errors


def test_answers_to_probes_before_the_first_requests_are_no_errors_of_later_ones() -> None:
    early, later = (seen(requests, refused=20, failed=20) for requests in (3, 103))
    assert judged(early, later) == (100, 0, 0)
    assert judged(seen(0, pod="b"), early, later) == (103, 3, 3)


def test_an_error_that_comes_a_look_after_its_request_is_counted_and_its_request_once() -> None:
    assert judged(seen(0), seen(10), seen(10, failed=10)) == (10, 0, 10)
    assert judged(seen(0), seen(10), seen(12, failed=4, refused=5), seen(12, failed=30, refused=5)) == (12, 5, 12)


def test_pods_that_have_gone_are_forgotten_but_for_those_that_may_come_back() -> None:
    last = None
    for number in range(100):
        now = {f"pod-{number}": Counters(requests=number)}
        last = merged(last, Reading(at=number, stable=now, canary={}))
    assert last
    assert list(last.stable) == [f"pod-{number}" for number in range(79, 100)]


@pytest.fixture(name="some_spec")
def _spec() -> Spec:
    return Spec.model_validate(
        {
            "model": "m",
            "stable": {"deployment": "s"},
            "canary": {"deployment": "c"},
            "route": {"kind": "HTTPRoute", "name": "r"},
            "steps": [{"weight": 5}],
        }
    )


def test_the_status_carries_the_state_and_a_condition_keeps_its_time(some_spec: Spec) -> None:
    spec = some_spec
    view = View(weight=5, mark=None, stable=Arm(), canary=Arm(), offered="c")
    state = State(phase=Phase.PROGRESSING, weight=5, at=1000.0, started=900.0)
    first = build_status(state, spec=spec, view=view, measured="", generation=1, before={})
    second = build_status(
        State(phase=Phase.PROMOTED, canary="c", at=2000.0, ended=2000.0),
        spec=spec, view=view, measured=None, generation=1, before=first,
    )  # fmt: skip

    assert read_state(first) == state
    assert first["step"] == "1/2"
    times = {each["type"]: (each["status"], each["lastTransitionTime"]) for each in second["conditions"]}
    assert times["Promoted"] == ("True", "1970-01-01T00:33:20Z")
    assert times["RolledBack"] == ("False", "1970-01-01T00:16:40Z")
    assert times["MetricsAvailable"] == ("True", "1970-01-01T00:16:40Z")


def test_whoever_waits_for_a_promotion_is_not_told_of_the_one_before_what_is_offered_now(some_spec: Spec) -> None:
    state = State(phase=Phase.PROMOTED, stable="c", canary="c", at=2.0, ended=1.0)
    for offered, expected in (("c", "True"), ("d", "False")):
        view = View(weight=0, mark=None, stable=Arm(), canary=Arm(), offered=offered)
        status = build_status(state, spec=some_spec, view=view, measured=None, generation=1, before={})
        assert {each["type"]: each["status"] for each in status["conditions"]}["Promoted"] == expected


def test_a_promotion_that_hangs_is_seen_in_the_condition(some_spec: Spec) -> None:
    for seconds, expected in ((600.0, ("True", "Promoting")), (601.0, ("False", "ProgressDeadlineExceeded"))):
        state = State(phase=Phase.PROMOTING, weight=100, at=2.0, stuck=seconds)
        status = build_status(state, spec=some_spec, view=None, measured=None, generation=1, before={})
        found = {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}
        assert found["Progressing"] == expected


def test_a_stable_version_without_all_of_its_pods_says_how_many_are_ready() -> None:
    assert stable_arm(deployment("stable"), 1).lacks == "1 of 2 pods are"
    assert stable_arm(deployment("stable"), 2).lacks == ""


def test_a_release_that_was_rolled_back_is_seen_as_such_when_nothing_is_offered_any_more(some_spec: Spec) -> None:
    gone = State(phase=Phase.IDLE, canary="", at=3.0, started=1.0, ended=2.0)
    never = State(phase=Phase.IDLE, at=3.0)
    for state, expected in ((gone, "True"), (never, "False")):
        status = build_status(state, spec=some_spec, view=None, measured=None, generation=1, before={})
        assert {each["type"]: each["status"] for each in status["conditions"]}["RolledBack"] == expected


def test_a_state_that_cannot_be_read_is_a_new_one() -> None:
    assert read_state({"state": "{"}) == State()


def test_a_release_is_never_with_two_workers_and_what_comes_meanwhile_is_not_lost() -> None:
    queue = Queue(clock=lambda: 0.0)
    queue.put(("d", "a"), 0.0)
    queue.put(("d", "a"), 0.0)
    assert queue.take() == ("d", "a")
    queue.put(("d", "a"), 0.0)
    waiting = threading.Thread(target=queue.take, daemon=True)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    queue.done(("d", "a"))
    waiting.join(5)
    assert not waiting.is_alive()


def test_whoever_may_change_nothing_sends_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "config", "http://127.0.0.1:9")))
    api = Api()
    api.may_change = lambda: False
    path = RELEASES.path("d", "digits")
    for change in (api.create, api.merge, api.replace):
        with pytest.raises(ApiError, match="not sent, for another controller may lead by now"):
            change(path, {})
    with pytest.raises(ApiError, match="not sent, for another controller may lead by now"):
        api.patch(path, [])


def test_the_definition_in_the_repository_is_that_of_the_model() -> None:
    shipped = Path(__file__).parents[3] / "k8s" / "crd" / f"{RELEASES.plural}.yaml"
    assert shipped.read_text() == dump(), "run: make schemas"
