"""`torchfinch abtest`: plan an experiment, start it, see that it runs well, and judge it at its end."""

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchfinch.console import err, out, table
from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    from torchfinch.experiment.start import Started
    from torchfinch.experiment.users import Users

app = typer.Typer(no_args_is_help=True, help="Compare two versions on users, from the plan to what may be claimed.")

File = Annotated[Path, typer.Option("--file", "-f", help="The experiment.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_HERE = Path("experiment.yaml")
_SPLIT = ["variant", "users", "share", "planned"]


@app.command()
def plan(file: File = _HERE, as_json: AsJson = False) -> None:
    """Say how many users and days the experiment needs, and what it can see in the days it has."""
    from dataclasses import asdict

    from torchfinch.experiment import read_experiment, view
    from torchfinch.experiment.planning import plan as plan_of
    from torchfinch.experiment.planning import plan_for

    experiment = read_experiment(file)
    plans = plan_of(experiment)
    if as_json:
        print(json.dumps([asdict(one) for one in plans], indent=2))
        return
    out.print(table(view.plan_columns(experiment), map(view.plan_row, plans)))
    _say(view.plan_sentence(experiment, plan_for(experiment, effect=experiment.metric.effect)))


@app.command()
def start(
    file: File = _HERE,
    at: Annotated[
        datetime | None, typer.Option(help="When users begin to count, in UTC; now if not given.", metavar="TIME")
    ] = None,
) -> None:
    """Fix the experiment before its first user counts; again after the share grew, to count anew.

    Keeps what was decided beside the events. From now on only the share may change, and only grow.
    """
    from torchfinch.experiment import read_experiment, view
    from torchfinch.experiment.planning import plan_for
    from torchfinch.experiment.start import load_started, save_started, started_path
    from torchfinch.experiment.start import start as begin

    experiment = read_experiment(file)
    path = started_path(experiment, beside=file)
    started = begin(experiment, load_started(path), now=_time(at))
    save_started(started, path)
    _say(view.progress(started, now=started.begin))
    _say(view.plan_sentence(experiment, plan_for(experiment, effect=experiment.metric.effect)))


@app.command()
def assign(
    user: Annotated[str, typer.Argument(help="A user's id.", show_default=False)],
    file: File = _HERE,
    as_json: AsJson = False,
) -> None:
    """Say which variant a user gets."""
    from torchfinch.experiment import read_experiment

    experiment = read_experiment(file)
    variant = experiment.variant(user)
    if as_json:
        found = {"user": user, "bucket": experiment.bucket(user), "variant": variant}
        print(json.dumps({**found, "headers": experiment.headers(user)}))
        return
    print(variant)


@app.command()
def status(file: File = _HERE, as_json: AsJson = False) -> None:
    """Show whether users enter and are split as planned; the metric is not looked at."""
    from dataclasses import asdict

    from torchfinch.experiment import view
    from torchfinch.experiment.analysis import sample_ratio

    started, users = _load(file)
    now = _time(None)
    split = sample_ratio(users, started, now=now)
    if as_json:
        times = {"begin": started.begin, "end": started.end, "now": now}
        print(json.dumps({**times, **asdict(split), "alarm": split.alarm}, indent=2))
        return
    _say(view.progress(started, now=now))
    counts = {"control": split.users - split.treated, "treatment": split.treated}
    out.print(table(_SPLIT, (view.split_row(variant, count, split) for variant, count in counts.items())))
    _say(view.split_sentence(split))


@app.command()
def analyze(
    file: File = _HERE,
    svg: Annotated[Path | None, typer.Option(help="Draw the looks into this file.", metavar="FILE")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the variants and say what may be claimed: as often as you like, and for good at the planned end."""
    from torchfinch.experiment import view
    from torchfinch.experiment.analysis import analyse
    from torchfinch.experiment.chart import interval_chart
    from torchfinch.files import write_whole

    started, users = _load(file)
    analysis = analyse(users, started, now=_time(None))
    if svg:
        write_whole(svg, interval_chart(analysis.looks, started))
    if as_json:
        print(json.dumps(analysis.to_dict(), indent=2))
        return
    _say(view.progress(started, now=analysis.now))
    arms = (view.arm_row(arm, analysis.sample_ratio) for arm in analysis.arms)
    out.print(table([*_SPLIT, "complete", started.experiment.metric.name], arms))
    _say(view.split_sentence(analysis.sample_ratio))
    found = view.interval_sentence(analysis)
    if found:
        _say(found)
    if analysis.looks:
        columns = ["always-valid, by", "users", "difference", "low", "high", "shows"]
        out.print("", table(columns, map(view.look_row, analysis.looks)), "", sep="\n")
    _say(analysis.claim)
    for note in view.left_out(analysis):
        err.print(note, markup=False, soft_wrap=True)


@app.command()
def compact(file: File = _HERE) -> None:
    """Turn the events so far into Parquet, about a tenth of their size; prints the new files."""
    from torchfinch.experiment import compact as compact_folder
    from torchfinch.experiment import read_experiment
    from torchfinch.experiment.start import logs_folder

    for path in compact_folder(logs_folder(read_experiment(file), beside=file)):
        print(path)


def _load(file: Path) -> "tuple[Started, Users]":
    """What was decided at the start, and the users whom the events tell of."""
    from torchfinch.experiment import read_events, read_experiment
    from torchfinch.experiment.start import check_unchanged, load_started, logs_folder, started_path
    from torchfinch.experiment.users import gather

    experiment = read_experiment(file)
    started = load_started(started_path(experiment, beside=file))
    if started is None:
        raise TorchfinchError(f"{experiment.name} has not been started", f"torchfinch abtest start --file {file}")
    check_unchanged(experiment, started)
    faults: list[str] = []
    users = gather(read_events(logs_folder(experiment, beside=file), on_fault=faults.append), started)
    if faults:
        err.print(
            f"lines left out, for they are no events: {len(faults)}, the first {faults[0]}",
            markup=False,
            soft_wrap=True,
        )
    return started, users


def _time(given: datetime | None) -> float:
    from datetime import UTC

    return (given.replace(tzinfo=UTC) if given else datetime.now(UTC)).timestamp()


def _say(sentence: str) -> None:
    out.print(sentence, markup=False, soft_wrap=True)
