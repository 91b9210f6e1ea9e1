"""How numbers and times are written in the report."""

from datetime import UTC, datetime


def number(value: float) -> str:
    """As few digits as say it: `0`, `0.25`, `1200`."""
    return f"{value:.4g}" if abs(value) < 10000 else f"{value:,.0f}"


def percent(value: float) -> str:
    """A share between 0 and 1 as a percentage."""
    return f"{100 * value:.3g} %"


def score(value: float) -> str:
    """A metric between 0 and 1 with the digits that a test set of some hundred images bears; all is 1 alone."""
    return f"{100 * (value if value == 1 else min(value, 0.999)):.1f} %"


def area(value: float) -> str:
    """An area under a curve, between 0 and 1; all is 1 alone."""
    return f"{value if value == 1 else min(value, 0.9999):.4f}"


def milliseconds(value: float) -> str:
    """Milliseconds with three digits."""
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def minutes(value: float) -> str:
    """Seconds as minutes and seconds, after an hour with hours: `0:42`, `3:05`, `1:02:00`."""
    whole = round(value)
    sign, (all_minutes, rest) = "-" if whole < 0 else "", divmod(abs(whole), 60)
    hours, left = divmod(all_minutes, 60)
    return f"{sign}{hours}:{left:02}:{rest:02}" if hours else f"{sign}{left}:{rest:02}"


def clock(at: float) -> str:
    """A time of day in UTC from seconds since 1970."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def day(at: float) -> str:
    """A date and time in UTC from seconds since 1970."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def plural(count: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
