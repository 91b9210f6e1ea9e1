"""Text of a properties file: read as Java's `java.util.Properties` reads it, and written so that it reads the same."""

import re
from collections.abc import Iterator, Mapping

_BLANKS = " \t\f"
_KEY = re.compile(r"((?:\\.|[^\\=: \t\f])*)(?:[ \t\f]*[=:]|[ \t\f])")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.?))")
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_CODED_IN_KEYS = re.compile(r"[^!-~]|[\\=:#!]")
_CODED_IN_VALUES = re.compile(r"[^ -~]|\\|\A | \Z")


def parse(text: str) -> Iterator[tuple[int, str, str]]:
    """The number of its line, key and value of every property; blanks at a value's end are left out.

    Raises:
        ValueError: a key has nothing behind it, or an escape is broken; names the line.
    """
    for number, line in _logical_lines(text):
        key = _KEY.match(line)
        if not key:
            raise ValueError(f"line {number} is {line!r}, which has no value")
        try:
            yield number, _decoded(key[1]), _decoded(line[key.end() :].lstrip(_BLANKS))
        except ValueError as error:
            raise ValueError(f"line {number} has {error}") from error


def render(properties: Mapping[str, str]) -> str:
    """A file of these properties."""
    lines = (
        f"{_CODED_IN_KEYS.sub(_coded, key)}={_CODED_IN_VALUES.sub(_coded, value)}\n"
        for key, value in properties.items()
    )
    return "".join(lines)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines that are no comments, each with the ones that a backslash at its end adds, and the number of its first."""
    lines = enumerate(re.split(r"\r\n|\r|\n", text), start=1)
    for number, first in lines:
        line = first.lstrip(_BLANKS)
        if not line or line.startswith(("#", "!")):
            continue
        while _goes_on(line):
            line = line[:-1] + next(lines, (0, ""))[1].lstrip(_BLANKS)
        yield number, line.rstrip(_BLANKS)


def _goes_on(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _decoded(text: str) -> str:
    characters = _ESCAPE.sub(_character, text)
    return characters.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # \u names halves of a pair


def _character(escape: re.Match[str]) -> str:
    if escape[1]:
        return chr(int(escape[1], 16))
    if escape[2] == "u":
        raise ValueError("an escape \\u without four hexadecimal digits")
    return _CONTROLS.get(escape[2], escape[2])


def _coded(character: re.Match[str]) -> str:
    # Java reads the file as Latin-1; what lies beyond ASCII is written as UTF-16 code units
    units = character[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))
