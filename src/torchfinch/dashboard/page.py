"""What the page shows, as HTML: a table of all releases, and one of them whole."""

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from torchfinch.dashboard.source import Source, Standing, Story, Word
from torchfinch.release.state import UNDERWAY, Phase, State
from torchfinch.release.view import duration, is_decision
from torchfinch.report.decisions import TONES, Turn
from torchfinch.report.releases import Release, release
from torchfinch.report.words import percent

_DECISIONS = 100
_PAGES = Environment(
    loader=ChoiceLoader([PackageLoader("torchfinch.dashboard"), PackageLoader("torchfinch.report")]),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Line:
    """A release as a row of the table."""

    name: str
    phase: str
    tone: str
    weight: int
    step: str
    canary: str
    requests: str
    errors: str
    age: str
    reason: str


@dataclass(frozen=True)
class Whole:
    """The release that is looked at: where it stands, its last release, how those before it ended."""

    line: Line
    newest: Turn | None
    release: Release | None
    decisions: Sequence[Turn]
    before: Sequence[Release]
    notes: Sequence[str]
    words: Sequence[Word]


class Page:
    """The page's content over a source, with buttons if `writable`; drawn again only where something is new."""

    def __init__(self, source: Source, *, writable: bool) -> None:
        self._source = source
        self._writable = writable
        self._drawn: dict[str, tuple[object, str]] = {}

    def render(self, name: str) -> str:
        """All releases, and the release `name` whole, else the one that moved last."""
        standings = self._source.standings()
        known = {standing.name: standing for standing in standings}
        chosen = name if name in known else max(known, key=lambda each: known[each].state.at, default="")
        story = self._source.story(chosen) if chosen else None
        seen = (standings, story and story.notes)
        drawn, html = self._drawn.get(chosen, (None, ""))
        if drawn != seen:
            html = self._draw(standings, story)
            self._drawn = {chosen: (seen, html)}
        return html

    def _draw(self, standings: Sequence[Standing], story: Story | None) -> str:
        whole = _whole(story, writable=self._writable) if story else None
        lines = [_line(standing) for standing in standings]
        return _PAGES.get_template("content.html").render(lines=lines, whole=whole, place=self._source.place)


def _line(standing: Standing) -> Line:
    state, record = standing.state, standing.newest
    promoted = _promoted(standing)
    canary, stable = (state.total.canary, state.total.stable)[:: -1 if promoted else 1]
    return Line(
        name=standing.name,
        phase=str(state.phase),
        tone=TONES.get(str(state.phase), "accent"),
        weight=100 if promoted else state.weight,
        step=f"{record['step']} of {record['steps']}" if record and state.phase in UNDERWAY else "",
        canary=_newcomer(standing),
        requests=f"{canary.requests:,} / {stable.requests:,}",
        errors=f"{percent(canary.error_rate)} / {percent(stable.error_rate)}",
        age=duration((state.ended or state.at) - state.started) if state.started else "",
        reason=state.reason,
    )


def _promoted(standing: Standing) -> bool:
    """Whether the roles have changed: stable runs, and counts, what was the canary."""
    record, canary = standing.newest, standing.state.canary
    return bool(record and canary and record["stable"]["digest"] == canary)


def _newcomer(standing: Standing) -> str:
    """The version that is released, or was last."""
    record, canary = standing.newest, standing.state.canary
    if not record or not canary:
        return ""
    return str(record["stable" if _promoted(standing) else "canary"]["label"] or canary[:12])


def _whole(story: Story, *, writable: bool) -> Whole:
    last = story.releases[-1] if story.releases else ()
    newest = story.standing.newest
    shown = release(last, canary=story.standing.state.canary) if last else None
    turns = shown.turns if shown else ()
    news = [
        turn
        for turn, before in zip(turns, (None, *turns), strict=False)
        if is_decision(dict(turn.record), dict(before.record) if before else None)
    ]
    return Whole(
        line=_line(story.standing),
        newest=Turn(newest, at=0.0, number=None, weight_before=0) if newest else None,
        release=shown,
        decisions=news[: -_DECISIONS - 1 : -1],
        before=[release(records) for records in story.releases[-6:-1]][::-1],
        notes=story.notes,
        words=_words(story.standing.state) if writable else (),
    )


def _words(state: State) -> Sequence[Word]:
    """What a person may ask for now."""
    if state.phase is Phase.PROMOTING:
        return ("abort",)
    if state.phase in UNDERWAY:
        return ("resume" if state.phase is Phase.PAUSED else "pause", "skip", "promote", "abort")
    return ("retry",) if state.phase is Phase.ROLLED_BACK else ()
