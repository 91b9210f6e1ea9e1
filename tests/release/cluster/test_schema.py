"""What the API server takes and what it refuses, and that the controller says the same."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from release.cluster.objects import CHECK, SPEC
from release.cluster.place import Cluster

from torchfinch.errors import TorchfinchError
from torchfinch.release.cluster.crd import definition
from torchfinch.release.cluster.resource import parse_spec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


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
    ({"canary": {"deployment": "digits-stable"}}, "stable and canary need a Deployment and a Service each"),
    ({"canary": {"deployment": "c", "service": "digits-stable"}}, "stable and canary need a Deployment and a Service"),
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


def test_a_delay_and_a_limit_that_are_switched_off_stay_so(cluster: Cluster) -> None:
    off = {"scaleDownDelay": None, "analysis": {"maxErrorRate": None}}
    head = {"apiVersion": "torchfinch.dev/v1alpha1", "kind": "CanaryRelease", "metadata": {"name": "off"}}
    cluster("apply", "--server-side", "-f", "-", stdin=json.dumps({**head, "spec": {**SPEC, **off}}))
    read = parse_spec(cluster.get("canary", "off"))
    assert (read.scale_down_delay, read.analysis.max_error_rate) == (None, None)
