"""All parts together as one HTML file that asks for nothing but itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from torchfinch.errors import TorchfinchError
from torchfinch.files import write_whole
from torchfinch.report.environment import describe_environment
from torchfinch.report.load import Load, read_load
from torchfinch.report.pictures import Picture, read_picture
from torchfinch.report.releases import Folder, read_releases
from torchfinch.report.training import Run, read_run
from torchfinch.report.words import day

Part = TypeVar("Part")
Source = TypeVar("Source")


@dataclass(frozen=True)
class Sources:
    """Folders and images to report on, in the order to be shown; beside an image, its caption or None."""

    runs: Sequence[Path] = ()
    loadtests: Sequence[Path] = ()
    releases: Sequence[Path] = ()
    images: Sequence[tuple[Path, str | None]] = ()


@dataclass
class Report:
    """What was read; `faults` names what could not be."""

    runs: list[Run] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def write_report(sources: Sources, output: Path, *, title: str = "Model report", now: datetime) -> Report:
    """Write one HTML file to `output`, whole or not at all, and return what is in it.

    A folder or image that cannot be read is named in the report instead of stopping it.
    """
    report = read_sources(sources)
    write_whole(output, render(report, title=title, now=now))
    return report


def read_sources(sources: Sources) -> Report:
    """Read every part."""
    report = Report()
    _read(report.runs, read_run, sources.runs, report.faults)
    _read(report.loads, read_load, sources.loadtests, report.faults)
    _read(report.folders, read_releases, sources.releases, report.faults)
    _read(report.pictures, read_picture, sources.images, report.faults)
    return report


def render(report: Report, *, title: str, now: datetime) -> str:
    """The page as text; everything in it that is not the template's own is escaped."""
    return render_page(
        "report.html", report=report, title=title, made=day(now.timestamp()), environment=describe_environment()
    )


def render_page(template: str, **content: object) -> str:
    """A template of this package with its content, escaped."""
    environment = Environment(
        loader=PackageLoader("torchfinch.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(content)


def _read(parts: list[Part], read: Callable[[Source], Part], sources: Sequence[Source], faults: list[str]) -> None:
    for source in sources:
        try:
            parts.append(read(source))
        except TorchfinchError as error:
            faults.append(str(error))
