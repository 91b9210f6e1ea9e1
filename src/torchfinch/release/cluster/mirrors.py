"""The one filter that copies requests to the canary, in a rule of somebody else's HTTPRoute. Pure."""

from torchfinch.release.cluster.api import Object

_KIND = "RequestMirror"
_REFERENCE = ("group", "kind", "name", "namespace", "port")


def mirrored(rule: Object, canary: str) -> int:
    """Percent of the rule's requests that are copied to the Service `canary`."""
    number = _number(rule, canary)
    return 0 if number is None else int(rule["filters"][number]["requestMirror"].get("percent", 100))


def mirror_patch(rule: Object, path: str, canary: str, percent: int) -> list[Object]:
    """Operations that copy `percent` of the requests of the rule at `path`; the rule's other filters stay."""
    number, filters = _number(rule, canary), rule.get("filters", [])
    if mirrored(rule, canary) == percent:
        return []
    if percent == 0:
        return [{"op": "remove", "path": f"{path}/filters" + (f"/{number}" if len(filters) > 1 else "")}]
    wanted = _filter(rule, canary, percent)
    if number is not None:
        return [{"op": "replace", "path": f"{path}/filters/{number}", "value": wanted}]
    if filters:
        return [{"op": "add", "path": f"{path}/filters/-", "value": wanted}]
    return [{"op": "add", "path": f"{path}/filters", "value": [wanted]}]


def without_mirror(rule: Object, canary: str) -> Object:
    """The rule as its owner wrote it."""
    number = _number(rule, canary)
    rest = [each for place, each in enumerate(rule.get("filters", [])) if place != number]
    return {**{key: value for key, value in rule.items() if key != "filters"}, **({"filters": rest} if rest else {})}


def _filter(rule: Object, canary: str, percent: int) -> Object:
    backend = next(each for each in rule["backendRefs"] if each["name"] == canary)
    reference = {key: backend[key] for key in _REFERENCE if key in backend}
    part = {"percent": percent} if percent < 100 else {}
    return {"type": _KIND, "requestMirror": {"backendRef": reference, **part}}


def _number(rule: Object, canary: str) -> int | None:
    """The place of the filter among the rule's; None where there is none."""
    for number, each in enumerate(rule.get("filters", [])):
        if each.get("type") == _KIND and each["requestMirror"]["backendRef"]["name"] == canary:
            return number
    return None
