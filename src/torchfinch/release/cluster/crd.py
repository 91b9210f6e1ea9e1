"""The CustomResourceDefinition, made from the manifest's own model, so that schema and controller cannot disagree."""

from typing import Any

import yaml

from torchfinch.release.cluster.kinds import RELEASES
from torchfinch.release.manifest.backends import HERE
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.state import UNDERWAY, Phase

Schema = dict[str, Any]

_KEPT = (
    "type", "description", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
    "required", "default",
)  # fmt: skip
_MOVING = sorted(phase.value for phase in {*UNDERWAY, Phase.ROLLING_BACK})


def _backend(arm: str) -> str:
    """The name of an arm's Service, in the language of rules."""
    return f"(has(self.{arm}.service) ? self.{arm}.service : self.{arm}.deployment)"


_RULES = {
    "spec": [
        ("self.steps.map(s, s.weight).isSorted()", "weights must rise from step to step"),
        ("self.steps.all(s, self.steps.exists_one(t, t.weight == s.weight))", "every step needs a weight of its own"),
        ("self.checks.all(c, self.checks.exists_one(d, d.name == c.name))", "every check needs a name of its own"),
        ("self.checks.all(c, has(c.webhook) != has(c.query))", "a check needs either a webhook or a query"),
        (
            "self.checks.all(c, has(c.successCondition) || has(c.failureCondition))",
            "a check needs a successCondition, a failureCondition, or both",
        ),
        ("self.evidence.kind != 'Prometheus' || self.evidence.address != ''", "kind Prometheus needs its address"),
        (
            "self.checks.all(c, !has(c.query) || has(c.address) || self.evidence.address != '')",
            "a query needs the address of its Prometheus",
        ),
        (
            "self.route.kind == 'HTTPRoute' || !(has(self.shadow) || has(self.force))",
            "shadow and force need an HTTPRoute",
        ),
        ("self.route.kind != 'Replicas' || !has(self.baseline)", "baseline needs an HTTPRoute or VirtualService"),
        (
            f"self.stable.deployment != self.canary.deployment && {_backend('stable')} != {_backend('canary')}",
            "stable and canary need a Deployment and a Service each, of their own",
        ),
        (
            "!has(self.baseline) || !(self.baseline.deployment in [self.stable.deployment, self.canary.deployment]) && "
            f"!({_backend('baseline')} in [{_backend('stable')}, {_backend('canary')}])",
            "baseline needs a Deployment and a Service of its own",
        ),
        ("self.route.kind != 'Replicas' || !has(self.diff)", "diff needs a router"),
        (
            "!has(self.force) || has(self.force.header) || has(self.force.cookie)",
            "force needs a header, a cookie, or both",
        ),
        (
            "!has(self.notify) || has(self.notify.webhook) != has(self.notify.webhookEnv)",
            "notify needs either a webhook or a webhookEnv",
        ),
    ],
    "": [
        (
            f"!has(oldSelf.status) || !has(oldSelf.status.phase) || !(oldSelf.status.phase in {_MOVING!r}) || "
            "(self.spec.stable == oldSelf.spec.stable && self.spec.canary == oldSelf.spec.canary && "
            "self.spec.route == oldSelf.spec.route && self.spec.model == oldSelf.spec.model && "
            "has(self.spec.baseline) == has(oldSelf.spec.baseline) && "
            "(!has(self.spec.baseline) || self.spec.baseline == oldSelf.spec.baseline))",
            "model, stable, canary, baseline and route cannot change while a release is under way; abort it first",
        )
    ],
    "route": [
        ("self.kind == 'Replicas' || has(self.name)", "an HTTPRoute or VirtualService needs its name"),
        ("self.kind != 'Replicas' || !(has(self.name) || has(self.rule))", "the kind Replicas has no route to name"),
    ],
}
_COLUMNS = (
    ("Phase", "string", ".status.phase", 0),
    ("Step", "string", ".status.step", 0),
    ("Weight", "integer", ".status.weight", 0),
    ("Reason", "string", ".status.reason", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Canary", "string", ".status.canary.version", 1),
    ("Requests C/S", "string", ".status.compared.requests", 1),
    ("Errors C/S", "string", ".status.compared.errors", 1),
    ("Latency C/S", "string", ".status.compared.latency", 1),
)


def definition() -> Schema:
    """The CustomResourceDefinition as it is applied."""
    names = {"kind": RELEASES.name, "plural": RELEASES.plural, "singular": "canaryrelease", "shortNames": ["canary"]}
    version = {
        "name": RELEASES.version,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path, "priority": priority}
            for name, kind, path, priority in _COLUMNS
        ],
        "schema": {"openAPIV3Schema": _schema()},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{RELEASES.plural}.{RELEASES.group}"},
        "spec": {
            "group": RELEASES.group,
            "scope": "Namespaced",
            "names": {**names, "listKind": f"{RELEASES.name}List", "categories": ["torchfinch"]},
            "versions": [version],
        },
    }


def _schema() -> Schema:
    whole = Spec.model_json_schema(by_alias=True)
    spec = _structural(whole, whole.get("$defs", {}))
    properties = spec["properties"]
    for arm in ("stable", "canary", "baseline"):
        properties[arm]["properties"].pop("archive")
        properties[arm]["required"] = ["deployment"]
        if arm != "baseline":
            properties[arm].pop("nullable")
        for name in properties[arm]["properties"].values():
            name.pop("nullable")
    properties["route"]["x-kubernetes-validations"] = _validations("route")
    properties["route"]["properties"]["rule"].pop("nullable")  # a rule of none takes it for absent, the model does not
    spec["required"] = [*spec["required"], "stable", "canary"]
    spec["x-kubernetes-validations"] = _validations("spec")
    return {
        "type": "object",
        "description": "Releases a new version to a part of the traffic first, judged by its numbers.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": _status(),
        },
        "x-kubernetes-validations": _validations(""),
    }


def _validations(place: str) -> list[Schema]:
    return [{"rule": rule, "message": message} for rule, message in _RULES[place]]


def _between(least: str, most: str) -> Schema:
    """Bounds of a duration, which JSON Schema does not know."""
    rule = f"duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"
    return {"rule": rule, "message": f"must be from {least} to {most}"}


def _structural(schema: Schema, models: dict[str, Schema]) -> Schema:
    """The same schema as Kubernetes wants it: no references, `nullable`, and a union of objects as one object."""
    if "$ref" in schema:
        model = models[schema["$ref"].rpartition("/")[2]]
        schema = {**model, **{key: value for key, value in schema.items() if key != "$ref"}}
    choices: list[Schema] = schema.get("anyOf") or schema.get("oneOf") or []
    kinds = [choice for choice in choices if choice.get("type") != "null"]
    if len(kinds) > 1:
        return _united([_structural(kind, models) for kind in kinds])
    if kinds:
        outer = {key: value for key, value in schema.items() if key not in {"anyOf", "default"} or value is not None}
        outer.pop("anyOf", None)
        return {**_structural({**kinds[0], **outer}, models), "nullable": True}
    kept = {key: schema[key] for key in _KEPT if key in schema}
    if kept.get("maximum") and kept["type"] == "string":
        kept["x-kubernetes-validations"] = [_between(kept.pop("minimum", "0s"), kept.pop("maximum"))]
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bound in schema:
            kept |= {limit: schema[bound], bound: True}
    if "const" in schema:
        kept["enum"] = [schema["const"]]
    if "items" in schema:
        kept["items"] = _structural(schema["items"], models)
    if "properties" in schema:
        kept["properties"] = {name: _structural(each, models) for name, each in schema["properties"].items()}
    default = kept.get("default")
    if isinstance(default, dict):
        kept["default"] = {}  # each field has its own
    if isinstance(default, float) and kept["type"] == "string":
        kept["default"] = f"{default:g}s"
    return kept


def _united(kinds: list[Schema]) -> Schema:
    """The routes of a cluster as one object, told apart by `kind`."""
    kinds = [kind for kind in kinds if kind["properties"]["kind"]["enum"][0] not in HERE]
    properties = {name: each for kind in kinds for name, each in kind["properties"].items()}
    properties["kind"] = {"type": "string", "enum": [kind["properties"]["kind"]["enum"][0] for kind in kinds]}
    return {"type": "object", "properties": properties, "required": ["kind"]}


def _status() -> Schema:
    text, number, when = {"type": "string"}, {"type": "integer"}, {"type": "string", "format": "date-time"}
    loose = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    arm = {"type": "object", "properties": {"digest": text, "version": text, "ready": number}}
    condition = {
        "type": "object",
        "required": ["type", "status", "lastTransitionTime", "reason", "message"],
        "properties": {
            "type": text,
            "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
            "observedGeneration": {"type": "integer", "format": "int64"},
            "lastTransitionTime": when,
            "reason": text,
            "message": text,
        },
    }
    return {
        "type": "object",
        "properties": {
            "phase": {"type": "string", "enum": [phase.value for phase in Phase]},
            "step": {**text, "description": "The step reached and how many there are, such as 2/4."},
            "weight": {**number, "description": "Percent of the traffic that the canary gets."},
            "reason": text,
            "stable": arm,
            "canary": arm,
            "baseline": arm,
            "compared": {
                "type": "object",
                "description": "Numbers of the canary and of stable, in this release.",
                "properties": dict.fromkeys(("requests", "errors", "latency"), text),
            },
            "startedAt": when,
            "endedAt": when,
            "observedGeneration": {"type": "integer", "format": "int64"},
            "conditions": {
                "type": "array",
                "items": condition,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
            "checks": {
                "type": "array",
                "description": "The comparisons of the last judgement, with value, limit and verdict.",
                "items": loose,
            },
            "decisions": {
                "type": "array",
                "description": "The last decisions that changed something, newest last.",
                "items": loose,
            },
            "state": {**text, "description": "What the controller remembers, as JSON; not for people."},
        },
    }


def dump() -> str:
    """The definition as YAML, as `k8s/crd/` has it."""
    head = "# Made from the manifest's model by `make schemas`; not edited by hand.\n"
    return head + yaml.dump(definition(), Dumper=_Plain, sort_keys=False, width=120)


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  the dumper's
        return True
