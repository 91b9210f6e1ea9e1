"""`torchfinch loadtest`: load a server with real images and see whether it keeps its limits."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, TypeVar

import typer
from rich.progress import TextColumn

from torchfinch import console
from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    from torchfinch.loadtest import Limit, LoadTest, Numbers, Summary

Value = TypeVar("Value")
COLUMNS = ["answered by", "requests", "errors", "error rate", "good/s", "mean ms", "p50 ms", "p95 ms", "p99 ms"]
REASONS_SHOWN = 5


def _above_zero(rate: float | None) -> float | None:
    if rate is not None and not rate > 0:
        raise typer.BadParameter(f"{rate:g} is not above 0")
    return rate


def loadtest(
    url: Annotated[str, typer.Argument(help="Where predictions are served.")] = "http://127.0.0.1:8080",
    *,
    image: Annotated[list[Path], typer.Option(help="Image, or a folder of images; repeat for more.", exists=True)],
    model: Annotated[
        str | None, typer.Option(help="Model, or MODEL/VERSION; may be left out when the server has only one.")
    ] = None,
    users: Annotated[int, typer.Option(help="Users at once, each waiting for its answer.", min=1)] = 8,
    duration: Annotated[str, typer.Option(help="For how long: 30s, 5m, 1h30m.")] = "30s",
    rate: Annotated[
        float | None,
        typer.Option(
            help="Requests per second to offer in all; default: as many as are answered.",
            callback=_above_zero,
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(help="p50, p95, p99 or mean=500ms, errors=1%, throughput=50; repeat.", metavar="NAME=VALUE"),
    ] = None,
    bad_image: Annotated[
        list[Path] | None, typer.Option(help="File, or folder, that must be refused with a 4xx.", exists=True)
    ] = None,
    bad_share: Annotated[float, typer.Option(help="Share of requests with a bad image.", min=0, max=1)] = 0.1,
    check: Annotated[
        Literal["answer", "status"], typer.Option(help="A success is a checked answer, or any HTTP 200.")
    ] = "answer",
    output: Annotated[Path, typer.Option(help="Folder for summary.json, CSV and HTML.")] = Path("reports/loadtest"),
    web: Annotated[bool, typer.Option("--web", help="Open locust's own page instead.")] = False,
    web_port: Annotated[int, typer.Option(help="Port of that page, on loopback.")] = 8089,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json instead of the table.")] = False,
) -> None:
    """Load a served model with real images; exit 1 when a limit is broken.

    Every answer is checked: a request has failed unless it brings HTTP 200, a class and a confidence.

    Ctrl-C ends the test and still says what was measured.
    """
    from torchfinch.loadtest import LoadTest, check_target, parse_duration, parse_limit

    limits = [_parse(parse_limit, text, option="--limit") for text in limit or []]
    url = url.rstrip("/")
    test = LoadTest(
        url=url,
        model=model or _only_model(url),
        images=tuple(image),
        bad_images=tuple(bad_image or []),
        bad_share=bad_share,
        users=users,
        seconds=_parse(parse_duration, duration, option="--duration"),
        rate=rate,
        check=check,
    )
    check_target(test)
    if web:
        _open_page(test, port=web_port)
    summary = _measure(test, limits, output=output)
    _show(summary, test, output=output, as_json=as_json)
    if not summary.ok:
        raise typer.Exit(1)


def _parse(parse: Callable[[str], Value], text: str, *, option: str) -> Value:
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def _only_model(url: str) -> str:
    from torchfinch.cli.predict import only_model
    from torchfinch.serving import list_instances

    instance = next((instance for instance in list_instances() if instance.inference_url == url), None)
    if instance is None:
        raise TorchfinchError(
            f"no server of this folder answers at {url}, so the model must be named", "--model digits"
        )
    return only_model(instance)


def _open_page(test: "LoadTest", *, port: int) -> NoReturn:
    from torchfinch.loadtest import open_web_ui

    console.err.print(f"locust's page: http://127.0.0.1:{port} (Ctrl-C ends it)")
    raise typer.Exit(open_web_ui(test, port=port))


def _measure(test: "LoadTest", limits: "Sequence[Limit]", *, output: Path) -> "Summary":
    from torchfinch.loadtest import run_load_test

    with _Progress(test) as progress:
        return run_load_test(test, output=output, limits=limits, on_tick=progress)


class _Progress:
    """A bar of seconds with the numbers so far; nothing where stderr is no terminal."""

    def __init__(self, test: "LoadTest") -> None:
        self._bar = console.progress(TextColumn("{task.fields[note]}"))
        self._task = self._bar.add_task(f"{test.users} users on {test.model}", total=test.seconds, note="")

    def __enter__(self) -> "_Progress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, numbers: "Numbers") -> None:
        from torchfinch.loadtest import milliseconds

        note = f"{numbers.requests} requests, {numbers.throughput:.0f}/s, p95 {milliseconds(numbers.p95)} ms"
        self._bar.update(self._task, advance=1, note=f"{note}, {numbers.failures} failed")


def _show(summary: "Summary", test: "LoadTest", *, output: Path, as_json: bool) -> None:
    from torchfinch.loadtest import phrase

    if as_json:
        console.out.print_json(json.dumps(summary.to_dict()))
    else:
        console.out.print(console.table(COLUMNS, _rows(summary)))
    for reason in summary.reasons[:REASONS_SHOWN]:
        console.err.print(f"{reason.count} failed: {reason.reason}", markup=False)
    if summary.interrupted:
        console.err.print(f"ended after {summary.seconds:.0f} s of {test.seconds} s")
    offered = summary.total.requests / summary.seconds
    if test.rate and offered < 0.9 * test.rate and not summary.interrupted:
        console.err.print(f"only {offered:.1f} of {test.rate:g} requests per second were sent: use more --users")
    for verdict in summary.limits:
        word = "kept" if verdict.ok else "broken"
        stated, measured = phrase(verdict.name, verdict.limit), phrase(verdict.name, verdict.value)
        console.err.print(f"limit {word}: {verdict.name} {measured}, limit {stated}")
    console.err.print(f"written: {output}/ (open report.html)", soft_wrap=True)


def _rows(summary: "Summary") -> list[Sequence[str]]:
    from torchfinch.loadtest import milliseconds

    model = summary.model.partition("/")[0]
    named = [(f"{model} {version}", numbers) for version, numbers in summary.versions.items()]
    if len(named) != 1:
        named.append(("all", summary.total))
    return [
        [
            name,
            str(numbers.requests),
            str(numbers.failures),
            f"{numbers.error_rate:.2%}",
            f"{numbers.throughput:.1f}",
            *(milliseconds(value) for value in (numbers.mean, numbers.p50, numbers.p95, numbers.p99)),
        ]
        for name, numbers in named
    ]
