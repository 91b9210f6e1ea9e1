"""Releases driven by `torchfinch controller` on a real API server, by kubectl as a user has it."""

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from release.cluster.place import ROOT, Cluster, Controller, World
from waiting import within

from torchfinch.errors import TorchfinchError
from torchfinch.release.cluster.crd import definition
from torchfinch.release.cluster.resource import parse_spec

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


# --- what is refused ---

SPEC: dict[str, Any] = {
    "model": "digits",
    "stable": {"deployment": "digits-stable"},
    "canary": {"deployment": "digits-canary"},
    "route": {"kind": "HTTPRoute", "name": "digits"},
    "steps": [{"weight": 5}],
}
CHECK = {"name": "orders", "webhook": "http://shop.test/orders", "successCondition": "> 0.9"}
BASELINE = {"deployment": "digits-baseline"}
REPLICAS = {"kind": "Replicas"}


def refusals(cluster: Cluster, specs: list[Any]) -> dict[int, str]:
    """What the API server has against each of them that it would not accept."""
    head = {"apiVersion": "torchfinch.dev/v1alpha1", "kind": "CanaryRelease"}
    found = [{**head, "metadata": {"name": f"n{number}"}, "spec": spec} for number, spec in enumerate(specs)]
    body = json.dumps({"apiVersion": "v1", "kind": "List", "items": found})
    done = cluster.run("create", "--dry-run=server", "--validate=false", "-f", "-", stdin=body)
    _, *parts = re.split(r'"n(\d+)" is invalid: ', done.stderr)
    told = {int(number): why for number, why in zip(parts[::2], parts[1::2], strict=True)}
    assert done.stdout.count(" created") == len(specs) - len(told), done.stderr
    return told


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"steps": [{"weight": 50}, {"weight": 5}]}, "weights must rise from step to step"),
    ({"steps": [{"weight": 5}, {"weight": 5}]}, "every step needs a weight of its own|weights must rise"),
    ({"route": {"kind": "HTTPRoute"}}, r"needs its name|route\.name is missing"),
    ({"route": {**REPLICAS, "name": "digits"}}, "no route to name|name is no known field"),
    ({"route": {**REPLICAS, "rule": "first"}}, "no route to name|rule is no known field"),
    ({"analysis": {"maxErrorRate": 0}}, "should be greater than 0"),
    ({"analysis": {"interval": "5"}}, "spec.analysis.interval"),
    ({"analysis": {"interval": "0s"}}, "spec.analysis.interval.*(1ms|0.001)"),
    ({"analysis": {"interval": "9000h"}}, "spec.analysis.interval.*(8760h|31536000)"),
    ({"analysis": {"maxMeanLatency": "0s"}}, "spec.analysis.maxMeanLatency.*(1ms|0.001)"),
    ({"analysis": {"maxAge": "0.5ms"}}, "spec.analysis.maxAge.*(1ms|0.001)"),
    ({"progressDeadline": "0m"}, "spec.progressDeadline.*(1ms|0.001)"),
    ({"checks": [{**CHECK, "timeout": "0s"}]}, r"spec.checks\[0\].timeout.*(1ms|0.001)"),
    ({"checks": [CHECK, CHECK]}, "every check needs a name of its own"),
    ({"checks": [{**CHECK, "query": "up"}]}, "either a webhook or a query"),
    ({"checks": [{"name": "up", "webhook": "http://shop.test"}]}, "a successCondition, a failureCondition, or both"),
    ({"checks": [{"name": "up", "query": "up", "successCondition": "> 0"}]}, "the address of its Prometheus"),
    ({"evidence": {"kind": "Prometheus"}}, "kind Prometheus needs its address"),
    ({"baseline": {"deployment": "digits-canary"}}, "a Deployment and a Service of its own"),
    ({"baseline": {**BASELINE, "service": "digits-canary"}}, "a Deployment and a Service of its own"),
    ({"canary": {"deployment": "c", "service": "b"}, "baseline": {"deployment": "b"}}, "a Service of its own"),
    ({"route": REPLICAS, "baseline": BASELINE}, "baseline needs"),
    ({"route": REPLICAS, "diff": {"inputs": "digits"}}, "diff needs a router"),
    ({"route": {"kind": "VirtualService", "name": "r"}, "shadow": {}}, "shadow and force need"),
    ({"route": {"kind": "VirtualService", "name": "r"}, "force": {"header": "x"}}, "shadow and force need"),
    ({"force": {}}, "a header, a cookie, or both"),
    ({"notify": {}}, "either a webhook or a webhookEnv"),
]


def test_what_the_api_server_refuses_the_controller_refuses_too(cluster: Cluster) -> None:
    specs = [{**SPEC, **change} for change, _ in REFUSED]
    refused = refusals(cluster, specs)
    for number, (spec, (_, said)) in enumerate(zip(specs, REFUSED, strict=True)):
        assert re.search(said, refused[number], re.DOTALL), refused[number]
        with pytest.raises(TorchfinchError) as caught:
            parse_spec({"spec": spec})
        assert re.search(said, caught.value.message), caught.value.message
    assert "spec.stable" in refusals(cluster, [{**SPEC, "stable": None}])[0], "one machine alone knows it by itself"


_DURATIONS = ("0s", "0h0m0.0s", "0.5ms", "0.4ms0.6ms", "1ms", "1m30s", "8760h", "8761h", f"{'9' * 30}h")


def drawn(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a part of the schema allows, but for its rules."""
    if schema.get("nullable"):
        return st.none() | drawn({**schema, "nullable": False})
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "duration" in str(schema.get("x-kubernetes-validations", "")) and schema["type"] == "string":
        return st.sampled_from(_DURATIONS)
    return _DRAWN[schema["type"]](schema)


def _mapping(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    fields = {name: drawn(each) for name, each in schema["properties"].items()}
    required = {name: fields.pop(name) for name in schema.get("required", ())}
    return st.fixed_dictionaries(required, optional=fields)


_DRAWN: dict[str, Callable[[dict[str, Any]], st.SearchStrategy[Any]]] = {
    "object": _mapping,
    "array": lambda schema: st.lists(drawn(schema["items"]), min_size=schema.get("minItems", 0), max_size=3),
    "string": lambda schema: st.from_regex(re.compile(schema.get("pattern", ".*"), re.ASCII)),
    "boolean": lambda _: st.booleans(),
    "integer": lambda schema: st.integers(schema.get("minimum", -1), schema.get("maximum", 10**6)),
    "number": lambda schema: st.floats(schema.get("minimum", -1), schema.get("maximum", 10**6)),
}


def specs() -> st.SearchStrategy[Any]:
    """The plain spec with one or two of its parts drawn by the schema."""
    [version] = definition()["spec"]["versions"]
    parts = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    one = st.one_of(*(st.fixed_dictionaries({name: drawn(part)}) for name, part in parts.items()))
    return st.tuples(one, one).map(lambda changes: {**SPEC, **changes[0], **changes[1]})


@settings(
    max_examples=8, phases=[Phase.generate], derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(st.lists(specs(), min_size=60, max_size=60))
def test_what_the_api_server_accepts_the_controller_can_read(cluster: Cluster, drawn_specs: list[Any]) -> None:
    refused = refusals(cluster, drawn_specs)
    accepted = [spec for number, spec in enumerate(drawn_specs) if number not in refused]
    assert len(accepted) > 10, refused
    for spec in accepted:
        parse_spec({"spec": spec})


@pytest.mark.parametrize(
    "change",
    [
        {"model": "another"},
        {"stable": {"deployment": "another"}},
        {"canary": {"deployment": "another"}},
        {"baseline": {"deployment": "another"}},
        {"route": {"name": "another"}},
    ],
)
def test_what_is_released_cannot_change_amid_a_release(cluster: Cluster, change: dict[str, Any]) -> None:
    def patched() -> str:
        return cluster.run(
            "patch", "canary", "digits", "--type", "merge", "--patch", json.dumps({"spec": change})
        ).stderr

    cluster.patch("canary", "digits", {"status": {"phase": "Progressing"}}, "--subresource=status")
    assert "cannot change while a release is under way" in patched()
    cluster.patch("canary", "digits", {"status": {"phase": "Promoted"}}, "--subresource=status")
    assert patched() == ""


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

    controller.kill()
    controller.start()
    said = "spec.evidence: kind Prometheus needs its address"
    assert within(40, lambda: said in cluster.get("canary", "digits")["status"]["reason"])
    found = {each["type"]: each for each in cluster.get("canary", "digits")["status"]["conditions"]}
    assert (found["Progressing"]["reason"], found["RolledBack"]["status"]) == ("InvalidSpec", "True")
    cluster.patch("canary", "digits", {"spec": {"evidence": {"address": world.address}}})
    assert within(40, lambda: "no ready endpoint" in cluster.get("canary", "digits")["status"]["reason"])
