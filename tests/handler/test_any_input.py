"""Whatever is sent, each request gets an answer, and a good neighbour gets the right one."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from colours import colour_image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Serve = Callable[..., tuple[Any, Any]]
GOOD = colour_image("green")
WORDS = st.sampled_from(["image", "data", "instances", "inputs", "b64", "datatype", "BYTES", "top_k", "method", "id"])
ANY = st.characters()  # halves of surrogate pairs among them
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(ANY, max_size=20) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(ANY, max_size=5), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.dictionaries(WORDS | st.just("body"), st.binary(max_size=60) | JSON, max_size=3)
HEADERS = st.dictionaries(
    st.sampled_from(["explain", "describe", "content-type", "torchfinch-top-k", "torchfinch-target", "accept"]),
    st.sampled_from(["True", "application/json", "all", "-1", "2", "image/png", "é"]),
    max_size=3,
)


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest, colour_folder: Any) -> tuple[Any, Any]:
    """One handler for all examples; warming up for each would take minutes."""
    from torchfinch.handler import ImageClassifier
    from torchfinch.testing import FakeContext

    context = FakeContext(colour_folder)
    handler = ImageClassifier()
    handler.initialize(context)
    return handler, context


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=ROWS, headers=HEADERS, noise=st.binary(max_size=100))
def test_any_row_is_answered_and_hurts_nobody(
    served: tuple[Any, Any], row: dict[str, Any], headers: dict[str, str], noise: bytes
) -> None:
    handler, context = served
    context.new_batch([headers, {}, {}])

    answers = handler.handle([row, {"body": GOOD}, {"body": noise}], context)

    assert len(answers) == 3
    assert json.loads(answers[1])["label"] == "green"
    for index, answer in enumerate(answers):
        status, phrase = context.get_response_status(index)
        assert status in {200, 400, 413, 415, 422}
        assert phrase.isascii()
        assert json.loads(answer) is not None
