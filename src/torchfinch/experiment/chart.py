"""The difference and its always-valid interval over time, as one SVG without anything from elsewhere."""

from xml.sax.saxutils import escape

from torchfinch.experiment.analysis import Look
from torchfinch.experiment.claim import day, level
from torchfinch.experiment.start import Started

_WIDTH, _HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 20, 44, 40
_STYLE = "font: 13px system-ui, sans-serif; background: white"


def interval_chart(looks: tuple[Look, ...], started: Started) -> str:
    """An SVG of the looks; where there is none, it says so."""
    experiment = started.experiment
    title = f"{experiment.name}: {experiment.metric.name}, treatment minus control"
    title = f"{title}, with its always-valid {level(experiment.alpha)} interval"
    drawing = _Drawing(looks, started).parts() if looks else [_text(_WIDTH / 2, _HEIGHT / 2, "no look yet", "middle")]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" style="{_STYLE}">'
    return "\n".join([head, f"<title>{escape(title)}</title>", _text(_LEFT, 24, title), *drawing, "</svg>\n"])


class _Drawing:
    """Places of times and differences on the page."""

    def __init__(self, looks: tuple[Look, ...], started: Started) -> None:
        self._looks = looks
        self._begin, self._end = started.begin, max(started.end, looks[-1].time)
        bounds = [bound for look in looks for bound in (look.interval.low, look.interval.high)]
        self._low, self._high = min(0.0, *bounds), max(0.0, *bounds)

    def parts(self) -> list[str]:
        """Band, line, dots, the line of no difference, and what the axes say."""
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in self._points("difference"))
        band = [*self._points("high"), *reversed(self._points("low"))]
        polygon = " ".join(f"{x:.1f},{y:.1f}" for x, y in band)
        zero = self._y(0.0)
        return [
            f'<polygon points="{polygon}" fill="#9ec5e8" stroke="#9ec5e8" stroke-width="2"/>',
            f'<path d="M{_LEFT} {zero:.1f}H{_WIDTH - _RIGHT}" stroke="#444" stroke-dasharray="4 4"/>',
            f'<polyline points="{line}" fill="none" stroke="#1b5e9b" stroke-width="2"/>',
            *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#1b5e9b"/>' for x, y in self._points("difference")),
            *(_text(_LEFT - 8, self._y(value) + 4, f"{value:.3g}", "end") for value in {self._low, 0.0, self._high}),
            _text(_LEFT, _HEIGHT - 12, day(self._begin)),
            _text(_WIDTH - _RIGHT, _HEIGHT - 12, day(self._end), "end"),
        ]

    def _points(self, name: str) -> list[tuple[float, float]]:
        return [(self._x(look.time), self._y(getattr(look.interval, name))) for look in self._looks]

    def _x(self, time: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (time - self._begin) / (self._end - self._begin)

    def _y(self, value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (self._high - value) / (self._high - self._low)


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
