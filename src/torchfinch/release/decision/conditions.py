"""Whether what others were asked speaks for a canary: their numbers and the conditions of the manifest. Pure."""

import operator
import re
from collections.abc import Iterable, Iterator

from torchfinch.release.manifest.options import ExternalCheck
from torchfinch.release.state import Check, Finding, Verdict

_COMPARE = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_PARTS = re.compile(r"([<>=!]+) ?(.+)")


def conditions(
    checks: Iterable[ExternalCheck], findings: Iterable[Finding], *, revision: int, since: float
) -> Iterator[Check]:
    """Every check of the manifest, judged by what was found in this step (`revision`) and told after `since`.

    A check without such a finding holds, as does a value that meets neither of two conditions. A dry run is skipped.
    """
    found = {each.name: each for each in findings if each.revision == revision}
    for check in checks:
        finding = found.get(check.name)
        if finding is None or finding.at + check.timeout < since:
            finding = Finding(name=check.name, at=since, revision=revision, problem="not told yet")
        yield _judged(check, finding)


def _judged(check: ExternalCheck, finding: Finding) -> Check:
    told = _verdict(check, finding.value)
    condition = _words(check)
    note = finding.problem or condition
    return Check(
        name=check.name,
        value=finding.value,
        limit=_parts(check.failure_condition or check.success_condition or "")[1],
        verdict="skip" if check.dry_run else told,
        note=f"dry run, {told}: {note}" if check.dry_run else note,
        condition=condition,
    )


def _verdict(check: ExternalCheck, value: float | None) -> Verdict:
    """With one condition alone, whatever it does not name is the opposite."""
    good, bad = check.success_condition, check.failure_condition
    if value is None:
        return "hold"
    if bad is not None and _meets(value, bad):
        return "fail"
    if good is None or _meets(value, good):
        return "pass"
    return "fail" if bad is None else "hold"


def _meets(value: float, condition: str) -> bool:
    compare, limit = _parts(condition)
    return bool(_COMPARE[compare](value, limit))


def _parts(condition: str) -> tuple[str, float]:
    compare, limit = _PARTS.fullmatch(condition).groups()  # type: ignore[union-attr]  # the manifest's pattern
    return compare, float(limit)


def _words(check: ExternalCheck) -> str:
    """Both conditions in words."""
    said = {"passes if": check.success_condition, "fails if": check.failure_condition}
    return ", ".join(f"{words} {condition}" for words, condition in said.items() if condition)
