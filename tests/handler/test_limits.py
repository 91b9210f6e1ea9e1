"""How much one request may ask of a worker, and how much it may be answered."""

import base64
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from colours import colour_image
from torch import Tensor

from torchfinch.handler import ImageClassifier, Limits
from torchfinch.testing import predict

Serve = Callable[..., tuple[Any, Any]]
RED, BLUE = colour_image("red"), colour_image("blue")
RED64 = base64.b64encode(RED).decode()
TENSOR = {"datatype": "BYTES", "data": [RED64, RED64]}
FORMS: dict[str, Any] = {
    "v1": {"instances": [{"b64": RED64}] * 4},
    "v2": {"inputs": [TENSOR, TENSOR]},
    "list": {"image": [RED64] * 4},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_request_of_too_many_images_is_refused_and_hurts_no_neighbour(serve: Serve, form: str) -> None:
    handler, context = serve(limits={"max_images": 3})

    answers = predict(handler, context, RED, FORMS[form], {"instances": [RED64] * 3}, BLUE)

    assert [status for status, _ in answers] == [200, 413, 200, 200]
    assert answers[1][1]["message"] == "the request has 4 images; send at most 3 at once"
    assert [answers[0][1]["label"], answers[3][1]["label"]] == ["red", "blue"]


def test_a_request_has_few_images_to_be_explained(serve: Serve) -> None:
    handler, context = serve()
    for count, expected in ((8, 200), (9, 413)):
        body = {"instances": [RED64] * count}
        [(status, content)] = predict(handler, context, body, headers={"explain": "True"})
        assert status == expected, content


def test_an_archive_that_says_nothing_limits_images(serve: Serve) -> None:
    handler, context = serve()
    most = Limits().max_images

    answers = predict(handler, context, {"instances": [""] * (most + 1)}, {"instances": [""] * most})

    assert [status for status, _ in answers] == [413, 400]  # the second for its images, which are empty
    assert len(answers[1][1]["predictions"]) == most


def test_a_request_of_many_images_holds_few_of_them_as_tensors(serve: Serve) -> None:
    decoded: list[weakref.ref[Tensor]] = []
    held: list[int] = []

    class Watched(ImageClassifier):
        def decode(self, body: bytes) -> Tensor:
            tensor = super().decode(body)
            decoded.append(weakref.ref(tensor))
            return tensor

        def predict(self, batch: Tensor) -> Tensor:
            held.append(sum(tensor() is not None for tensor in decoded))
            return super().predict(batch)

    handler, context = serve(Watched, batch_buckets=[1, 2])
    many = max(2, handler._pool._max_workers) * 5
    decoded.clear()
    held.clear()
    [(status, answer)] = predict(handler, context, {"instances": [RED64] * many})

    assert status == 200
    assert [each["label"] for each in answer["predictions"]] == ["red"] * many
    assert len(decoded) == many
    assert max(held) <= many / 5


def test_an_answer_that_is_too_large_is_an_error_of_its_own(serve: Serve) -> None:
    handler, context = serve(limits={"max_answer_bytes": 500})
    context.new_batch([{}, {"explain": "True"}, {}])

    answers = handler.handle([{"body": body} for body in (RED, RED, BLUE)], context)

    assert [context.get_response_status(index)[0] for index in range(3)] == [200, 413, 200]
    assert all(len(answer) <= 500 for answer in answers)
    assert b"bytes, more than 500; send fewer images at once" in answers[1]
