"""Properties files, read as Java reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchfinch.serving.properties import parse, render


def read(text: str) -> dict[str, str]:
    return {key: value for _, key, value in parse(text)}


@pytest.mark.parametrize(
    ("text", "properties"),
    [
        ("a=b", {"a": "b"}),
        ("a: b", {"a": "b"}),
        ("a b", {"a": "b"}),
        ("\t a \t=  b=c : d \t", {"a": "b=c : d"}),
        ("a==b", {"a": "=b"}),
        ("a=", {"a": ""}),
        ("a\\ b\\=c=d", {"a b=c": "d"}),
        ("a=\\t\\u00fc\\ud83d\\ude00\\d\\\\", {"a": "\tü😀d\\"}),
        ("# a=b\n ! c=d\n\n \ne=f", {"e": "f"}),
        ("a=1\r\nb=2\rc=3", {"a": "1", "b": "2", "c": "3"}),
        ("a=1\x0b\x852", {"a": "1\x0b\x852"}),
        ("a=1, \\\n    2\nb=3", {"a": "1, 2", "b": "3"}),
        ("a=1\\\\\nb=2", {"a": "1\\", "b": "2"}),
        ("# one \\\na=b", {"a": "b"}),
        ("a=1\\\n# 2", {"a": "1# 2"}),
        ("a=1\\", {"a": "1"}),
        ("a=1\na=2", {"a": "2"}),
    ],
)
def test_a_file_is_read_as_java_reads_it(text: str, properties: dict[str, str]) -> None:
    assert read(text) == properties


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a=b\\\nc\nnonsense ", "line 3 is 'nonsense', which has no value"),
        ("a=1\nb=\\u12", r"line 2 has an escape \u without four hexadecimal digits"),
    ],
)
def test_what_is_none_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"^line") as raised:
        read(text)
    assert str(raised.value) == told


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.dictionaries(TEXTS.filter(bool), TEXTS))
def test_what_is_written_reads_the_same(properties: dict[str, str]) -> None:
    assert read(render(properties)) == properties
    assert render(properties).isascii()
