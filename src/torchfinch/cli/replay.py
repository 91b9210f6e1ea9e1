"""`torchfinch canary replay`: a recorded release, judged by another rule."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from torchfinch.cli.releases import find_release
from torchfinch.cli.settings import pairs
from torchfinch.console import err, out, table
from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    from torchfinch.release.simulation.replay import Look, Rejudged

_FIELD = "analysis."


def replay(
    name: Annotated[
        str,
        typer.Argument(help="A release here, or a file that torchfinch controller --record keeps.", show_default=False),
    ],
    policy: Annotated[
        Literal["required", "sequential"] | None, typer.Option(help="The policy to judge by; else the recorded one.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="analysis.FIELD=VALUE", help="Another limit; may be given again."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per release.")] = False,
) -> None:
    """Judge recorded releases by another policy or other limits: which looks differ, and how each would have ended."""
    from torchfinch.release.history import read_history
    from torchfinch.release.simulation.replay import rejudge
    from torchfinch.release.view import REJUDGED_COLUMNS, rejudged_line, rejudged_rows

    changes = {**_changes(settings), **({"policy": policy} if policy else {})}
    path = _recorded(name)
    records = read_history(path) if path.exists() else []
    if not records and path.exists() and path.stat().st_size:
        raise TorchfinchError(f"{path} has no line of a history", "torchfinch controller --record FOLDER writes one")
    found = rejudge(records, changes)
    if not found:
        err.print(f"nothing of {name} is recorded yet")
    for release in found:
        if as_json:
            print(json.dumps({**_plain(release), "outcome": rejudged_line(release)}))
            continue
        if release.differing:
            out.print(table(REJUDGED_COLUMNS, rejudged_rows(release)))
        out.print(rejudged_line(release), markup=False, soft_wrap=True)


def _recorded(name: str) -> Path:
    """The history of a release here, or the file itself."""
    try:
        return find_release(name).history
    except TorchfinchError as error:
        if Path(name).is_file():
            return Path(name)
        hint = "for a release of a cluster name the file that torchfinch controller --record FOLDER keeps"
        raise TorchfinchError(error.message, hint) from error


def _changes(settings: list[str] | None) -> dict[str, Any]:
    import yaml

    given = pairs(settings)
    for field in given:
        if not field.startswith(_FIELD):
            raise typer.BadParameter(f"{field} is no field of analysis, such as analysis.maxErrorRate=0.1")
    return {field.removeprefix(_FIELD): yaml.safe_load(value) for field, value in given.items()}


def _plain(release: "Rejudged") -> dict[str, Any]:
    def plain(look: "Look") -> dict[str, Any]:
        counts = {role: look.record[role] for role in ("stable", "canary")}
        said = {"recorded": look.then, "replayed": look.now, "reason": look.decision.state.reason}
        return {"time": look.record["time"], "weight": look.weight, **said, **counts}

    return {
        "stable": release.stable,
        "canary": release.canary,
        "recorded": release.outcome,
        "looks": len(release.looks),
        "differing": [plain(look) for look in release.differing],
    }
