"""`torchfinch diff`: where two versions answer differently."""

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchfinch.console import err, out, progress, table
from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    from torchfinch.archive.diff import Difference, Estimate, Pair

_WORST = 10
Names = tuple[str, str]


def diff(
    first: Annotated[Path, typer.Argument(help="The .mar file in use.", show_default=False)],
    second: Annotated[Path, typer.Argument(help="The .mar file to take its place.", show_default=False)],
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Files, and folders of files; both archives' golden requests if none is given."),
    ] = None,
    most: Annotated[
        float | None,
        typer.Option("--max-disagreement", min=0, max=1, help="Exit 1 when a larger share is answered otherwise."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Send the same images to two archives: how often the answer differs, how confidence and latency change."""
    from torchfinch.archive import read_archive
    from torchfinch.archive.diff import Difference, ask_both, golden_requests

    infos = [read_archive(path) for path in (first, second)]
    files = list(_files(images or []))
    golden = [] if images else golden_requests(first, second)
    if not (files or golden):
        raise TorchfinchError("neither archive has golden requests", "name images after the archives")
    requests = chain(golden, ((str(file), file.read_bytes()) for file in files))
    with progress() as bar:
        task = bar.add_task("asking both", total=len(files) + len(golden))
        pairs = []
        for pair in ask_both(first, second, requests):
            pairs.append(pair)
            bar.advance(task)
    found, one, other = Difference(tuple(pairs)), *(f"{info.name} {info.version}" for info in infos)
    names = (one, other) if one != other else (f"{one} (first)", f"{other} (second)")
    if as_json:
        print(json.dumps(_plain(found, names)))
    else:
        _show(found, names)
    if most is not None and found.share > most:
        err.print(f"{found.share:.1%} is more than {most:.1%}")
        raise typer.Exit(1)


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        inside = [each for each in sorted(path.rglob("*")) if each.is_file() and not each.name.startswith(".")]
        if not path.is_file() and not inside:
            raise TorchfinchError(f"there is no file {path}, nor a folder with files in it", "name images or folders")
        yield from inside or [path]


def _show(found: "Difference", names: Names) -> None:
    low, high = found.interval
    rows = [
        ("requests", f"{len(found.answered)}" + _refused(found)),
        ("answered otherwise", f"{len(found.disagreements)}: {found.share:.1%}, 95 % interval {low:.1%} to {high:.1%}"),
    ]
    if found.confidence:
        rows.append(("change of confidence", _span(found.confidence, "+.4f")))
    if found.latency:
        rows.append(("latency, as a multiple", _span(found.latency, ".2f")))
    out.print(table(("", f"{names[1]} against {names[0]}"), rows))
    if found.disagreements:
        worst = [(pair.name, pair.first.told, pair.second.told) for pair in found.disagreements[:_WORST]]
        out.print()
        out.print(table(("the farthest apart", *names), worst))


def _refused(found: "Difference") -> str:
    refused = len(found.pairs) - len(found.answered)
    return f", and {refused} that neither answered" if refused else ""


def _span(estimate: "Estimate", form: str) -> str:
    interval = estimate.interval
    if interval is None:
        return f"{estimate.mean:{form}}"
    low, high = interval
    return f"{estimate.mean:{form}}, 95 % interval {low:{form}} to {high:{form}}"


def _plain(found: "Difference", names: Names) -> dict[str, object]:
    from dataclasses import asdict

    def plain(pair: "Pair") -> dict[str, object]:
        answers = {name: asdict(answer) for name, answer in (("first", pair.first), ("second", pair.second))}
        return {"name": pair.name, "disagree": pair.disagree, **answers}

    return {
        "first": names[0],
        "second": names[1],
        "answered": len(found.answered),
        "refused": len(found.pairs) - len(found.answered),
        "disagreements": len(found.disagreements),
        "share": found.share,
        "interval": found.interval,
        "confidence_change": _estimated(found.confidence),
        "latency_ratio": _estimated(found.latency),
        "requests": [plain(pair) for pair in found.pairs],
    }


def _estimated(estimate: "Estimate | None") -> dict[str, object] | None:
    return {"mean": estimate.mean, "interval": estimate.interval} if estimate else None
