import re
from typing import Any

import pytest
from release.cluster.objects import CHECK, SPEC

from torchfinch.errors import TorchfinchError
from torchfinch.release.cluster.resource import parse_spec
from torchfinch.release.manifest.fields import parse_duration
from torchfinch.release.manifest.spec import Spec, parse_manifest

MANIFEST = """
apiVersion: torchfinch.dev/v1alpha1
kind: CanaryRelease
metadata: {name: digits}
spec:
  model: digits
  stable: {archive: model_store/digits.mar}
  canary: {archive: model_store/digits-2.0.mar}
  route: {kind: Envoy, port: 8090}
  steps: [{weight: 5}, {weight: 25, duration: 2m, minRequests: 40}]
  analysis: {interval: 1s, maxMeanLatency: 1.5s}
  action: {type: promote, id: once}
"""


def test_a_manifest_is_read_with_the_requirements_rule_as_default() -> None:
    manifest = parse_manifest(MANIFEST)
    analysis = manifest.spec.analysis
    assert manifest.metadata.name == "digits"
    assert (analysis.min_requests, analysis.max_error_rate, analysis.max_error_ratio) == (100, 0.05, 2)
    assert (analysis.max_mean_latency, analysis.max_latency_ratio, analysis.stable_error_floor) == (1.5, 2, 0)
    assert manifest.spec.steps[1].duration == 120


def test_a_last_step_of_100_is_added() -> None:
    assert [step.weight for step in parse_manifest(MANIFEST).spec.steps] == [5, 25, 100]


def test_a_spec_survives_json() -> None:
    spec = parse_manifest(MANIFEST).spec
    assert Spec.model_validate(spec.model_dump(mode="json", by_alias=True)) == spec


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("interval: 1s", "intervall: 1s", r"spec\.analysis\.intervall is no known field \(allowed here: interval, min"),
        ("interval: 1s", "min_requests: 1", r"spec\.analysis\.min_requests is no known field"),
        ("interval: 1s", "interval: 1", r"spec\.analysis\.interval: 1 is no duration; write a number with a unit"),
        ("interval: 1s", "maxErrorRate: -1", r"spec\.analysis\.maxErrorRate: .*greater than 0, got -1"),
        ("{weight: 5}", "{weight: 25}", r"spec\.steps: weights must rise from step to step, got \[25, 25\]"),
        ("{weight: 5}", "{duration: 5s}", r"spec\.steps\[0\]\.weight is missing"),
        ("{weight: 5}", "{weigth: 5}", r"spec\.steps\[0\]\.weigth is no known field \(allowed here: weight, dur"),
        ("name: digits}", "name: Digits_1}", r"metadata\.name: 'Digits_1' is no name of a release; use small letters"),
        ("{weight: 5}", "{weight: 5, at: 1}", r"spec\.steps\[0\]\.at is no known field \(allowed here: weight, dur"),
        ("[{weight: 5}, {weight: 25, duration: 2m, minRequests: 40}]", "[]", r"spec\.steps: "),
        ("port: 8090", "port: 80900", r"spec\.route\.port: .*65535, got 80900"),
        (
            "kind: Envoy",
            "kind: Ingress",
            r"spec\.route: .*'Ingress'.* 'Envoy', 'HTTPRoute', 'VirtualService', 'Replicas'",
        ),
        ("kind: Envoy, port: 8090", "kind: HTTPRoute", r"spec\.route\.name is missing"),
        ("kind: Envoy, port: 8090", "kind: HTTPRoute, name: a, port: 1", r"spec\.route\.port is no known .*name, rule"),
        ("{archive: model_store/digits.mar}", "{}", r"spec\.stable: name either an archive .* or a deployment"),
        ("kind: CanaryRelease", "kind: Canary", r"kind: .*'CanaryRelease', got 'Canary'"),
        ("name: digits", "name: ../digits", r"metadata\.name: "),
        ("type: promote", "type: destroy", r"spec\.action\.type: "),
        ("spec:", "spec: [", r"line \d+, is no YAML"),
    ],
)
def test_a_fault_is_told_in_one_line_with_its_place(old: str, new: str, message: str) -> None:
    with pytest.raises(TorchfinchError) as caught:
        parse_manifest(MANIFEST.replace(old, new), source="digits.yaml")
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("digits.yaml")


@pytest.mark.parametrize("text", ["", "[]", "a word"])
def test_a_document_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(TorchfinchError, match="the document must be a mapping"):
        parse_manifest(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("2m", 120), ("1h30m", 5400), ("500ms", 0.5), ("1.5s", 1.5)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("value", ["", "10", 10, True, "s", "10 s", "-1s", "1d", "1s x"])
def test_other_things_are_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(value)


def test_steps_are_found_by_weight_even_after_an_edit() -> None:
    spec = parse_manifest(MANIFEST).spec
    assert [spec.next_weight(weight) for weight in (0, 5, 10, 25, 100)] == [5, 25, 25, 100, None]
    assert [spec.step_of(weight) for weight in (0, 5, 10, 25, 100)] == [0, 1, 1, 2, 3]
    assert spec.step_at(25).min_requests == 40
    assert spec.step_at(10).min_requests is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": [{"weigth": 5}]}, r"^spec\.steps\[0\]\.weigth is no known field \(allowed here: weight, duration"),
        ({"step": []}, r"^spec\.step is no known field \(allowed here: model, stable"),
        ({"canary": {"deploymnt": "c"}}, r"^spec\.canary\.deploymnt is no known field"),
        (
            {"route": {"kind": "HTTPRoute", "nam": "r"}},
            r"^spec\.route\.nam is no known field \(allowed here: kind, name",
        ),
        ({"analysis": {"intervall": "1s"}}, r"^spec\.analysis\.intervall is no known field"),
        ({"shadow": {"minRequest": 1}}, r"^spec\.shadow\.minRequest is no known field \(allowed here: percent, min"),
        ({"shadow": {"percent": 0}}, r"^spec\.shadow\.percent: .* greater than or equal to 1, got 0"),
        ({"diff": {}}, r"^spec\.diff\.inputs is missing"),
        ({"diff": {"inputs": "../keys"}}, r"^spec\.diff\.inputs: .*got '\.\./keys'"),
        ({"diff": {"inputs": "/etc"}}, r"^spec\.diff\.inputs: .*got '/etc'"),
        ({"diff": {"inputs": "a/.keys"}}, r"^spec\.diff\.inputs: .*got 'a/\.keys'"),
        ({"diff": {"inputs": "a", "maxDisagrement": 0}}, r"^spec\.diff\.maxDisagrement is no known field"),
        (
            {"diff": {"inputs": "a"}, "route": {"kind": "Replicas"}},
            r"^spec: diff needs a router: with route\.kind Rep",
        ),
        ({"force": {}}, r"^spec\.force: name a header, a cookie, or both"),
        ({"force": {"cookie": "a b"}}, r"^spec\.force\.cookie: .*got 'a b'"),
        ({"notify": {"webhookEnv": "HOME"}}, r"^spec\.notify\.webhookEnv: .*got 'HOME'"),
        ({"notify": {}}, r"^spec\.notify: name either a webhook or a webhookEnv"),
        ({"checks": [{**CHECK, "webhok": 1}]}, r"^spec\.checks\[0\]\.webhok is no known field"),
        ({"checks": [{**CHECK, "query": "up"}]}, r"^spec\.checks\[0\]: name either a webhook or a query"),
        ({"checks": [{**CHECK, "successCondition": None}]}, r"^spec\.checks\[0\]: name a successCondition"),
        ({"checks": [{**CHECK, "successCondition": "high"}]}, r"^spec\.checks\[0\]\.successCondition: .*got 'high'"),
        ({"checks": [CHECK, CHECK]}, r"^spec\.checks: every check needs a name of its own, got \['orders', 'orders'\]"),
        ({"checks": [{**CHECK, "webhook": None, "query": "up"}]}, r"^spec: check orders has a query: name the address"),
        ({"shadow": {}, "route": {"kind": "Replicas"}}, r"^spec: shadow and force need route\.kind Envoy or HTTPRoute"),
    ],
)
def test_a_fault_in_a_custom_resource_is_told_with_the_misspelt_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TorchfinchError) as caught:
        parse_spec({"spec": {**SPEC, **change}})
    assert re.search(message, caught.value.message), caught.value.message


def test_a_date_that_there_is_not_is_an_error_of_the_manifest() -> None:
    with pytest.raises(TorchfinchError, match="day is out of range for month"):
        parse_manifest(MANIFEST + "  action: {type: skip, id: 2024-02-30}\n")
