"""A study as one HTML page that asks for nothing but itself: how it went, what mattered, and every trial."""

from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from torchfinch.tuning.result import Trial, Tuned

WIDTH, HEIGHT = 640, 220
"""Of the history's plot, in units of its SVG."""
_LINES = 4


@dataclass(frozen=True)
class History:
    """Where trials lie in the plot, each with its trial, and what frames them."""

    dots: tuple[tuple[float, float, Trial], ...]
    best: str
    """SVG path of the best score so far."""
    lines: tuple[tuple[float, str], ...]
    """Height and text of the horizontal lines."""


def render_page(tuned: Tuned) -> str:
    """The page as text; names and values in it are escaped."""
    environment = Environment(
        loader=PackageLoader("torchfinch.tuning"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["short"] = short
    template = environment.get_template("study.html")
    return template.render(tuned=tuned, history=draw_history(tuned), width=WIDTH, height=HEIGHT)


def draw_history(tuned: Tuned) -> History:
    """Each trial that has a score, from left to right in the order of their numbers, more being higher."""
    scored = [(trial, trial.score) for trial in tuned.trials if trial.score is not None]
    scores = [score for _, score in scored]
    low, high = min(scores), max(scores)
    span = (high - low) or 1.0
    last = max(trial.number for trial, _ in scored) or 1

    def left(number: int) -> float:
        return round(WIDTH * number / last, 1)

    def top(score: float) -> float:
        return round(HEIGHT * (high - score) / span, 1)

    steps: list[str] = []
    best = float("-inf")
    for trial in tuned.trials:
        if trial.state == "complete" and trial.score is not None and trial.score > best:
            best = trial.score
            steps.append(f"{'H' if steps else 'M'}{left(trial.number):g}{'V' if steps else ' '}{top(best):g}")
    ticks = [low + span * part / _LINES for part in range(_LINES + 1)]
    return History(
        dots=tuple((left(trial.number), top(score), trial) for trial, score in scored),
        best="".join(steps) + f"H{WIDTH}",
        lines=tuple((top(tick), f"{tick:.4g}") for tick in ticks),
    )


def short(value: object) -> str:
    """A value with as few digits as tell it apart."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
