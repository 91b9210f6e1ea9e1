"""`torchfinch canary simulate`: how sure each way of judging is."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchfinch.console import err, out, table

if TYPE_CHECKING:
    from torchfinch.release.simulation.simulate import Outcome


def simulate(
    releases: Annotated[int, typer.Option(min=1, help="Simulated releases for each line.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same numbers.")] = 0,
    look: Annotated[int, typer.Option(min=2, help="Requests of both versions between two looks.")] = 50,
    plot: Annotated[Path | None, typer.Option(help="Write a chart of it to this SVG file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line and policy.")] = False,
) -> None:
    """Play releases with equal and with worse canaries: how often each policy rolls back, and how soon."""
    from dataclasses import asdict, replace

    from torchfinch.release.simulation.simulate import SCENARIOS
    from torchfinch.release.simulation.simulate import simulate as play

    rows, played = [], []
    for scenario in SCENARIOS:
        outcomes = list(play(replace(scenario, look=look), releases=releases, seed=seed))
        played += outcomes
        if as_json:
            for outcome in outcomes:
                print(json.dumps(asdict(outcome)))
        found = {outcome.policy: _cell(outcome) for outcome in outcomes}
        what = [f"{scenario.stable:.1%} → {scenario.canary:.1%}", f"{scenario.weight} %", scenario.errors]
        what[0] = what[0] if scenario.latency is None else f"latency x{scenario.latency:g}"
        rows.append((*what, *(found.get(policy, "-") for policy in _POLICIES)))
    if not as_json:
        out.print(table(("stable → canary", "weight", "errors", *_POLICIES), rows))
    if plot:
        from torchfinch.files import write_whole
        from torchfinch.report.simulation import simulation_chart

        caption = f"{releases} releases for each row, a look every {look} requests, seed {seed}; requests are medians"
        write_whole(plot, simulation_chart(played, caption=caption))
        err.print(f"wrote {plot}", markup=False, soft_wrap=True)


_POLICIES = ("required", "sequential", "Flagger-like", "Argo-like", "Kayenta-like")


def _cell(outcome: "Outcome") -> str:
    after = "" if outcome.median is None else f", {outcome.median:.0f}"
    return f"{outcome.back:.1%}{after}"
