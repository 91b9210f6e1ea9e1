"""What one image does stays its own, whatever it does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from colours import colour_image, colour_probabilities
from PIL import Image
from torch import Tensor

from torchfinch.handler import JSON, BadRequest, Limits, requests
from torchfinch.handler.classifier import ImageClassifier
from torchfinch.testing import encode_image, predict

Serve = Callable[..., tuple[Any, Any]]

BROKEN = {
    "empty": (b"", 400),
    "text": (b"this is no image", 400),
    "truncated": (encode_image(Image.effect_noise((64, 64), 50), "PNG")[:300], 400),
    "pdf": (b"%PDF-1.7 and so on", 415),
    "too many pixels": (encode_image(Image.new("L", (7000, 7000))), 413),
    "too many bytes": (b"\xff\xd8\xff" + bytes(11_000_000), 413),
    "broken json": (b'{"image": ', 400),
    "json without an image": (b'{"picture": "aaaa"}', 422),
}


def test_bad_images_get_their_own_status_and_leave_good_neighbours_untouched(serve: Serve) -> None:
    handler, context = serve()
    good = {name: colour_image(name) for name in ("red", "green", "blue")}
    bodies = [good["red"], *(body for body, _ in BROKEN.values()), good["green"], good["blue"]]

    answers = predict(handler, context, *bodies)

    statuses = [status for status, _ in answers]
    assert statuses == [200, *(status for _, status in BROKEN.values()), 200, 200]
    for (_, answer), name in zip([answers[0], *answers[-2:]], good, strict=True):
        assert answer["label"] == name
        expected = colour_probabilities(good[name]).max()
        assert answer["confidence"] == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("name", BROKEN)
def test_an_error_says_what_was_wrong_and_what_to_do(serve: Serve, name: str) -> None:
    handler, context = serve()
    body, status = BROKEN[name]

    [(_, answer)] = predict(handler, context, body)

    assert answer["code"] == status
    assert "; send" in answer["message"]
    assert context.get_response_headers(0)["content-type"] == "application/json"


class _FailsOnBlue(ImageClassifier):
    def predict(self, batch: Tensor) -> Tensor:
        if (batch[:, 2].mean(dim=(1, 2)) > 0.9).any():
            raise RuntimeError("blue is not supported")
        return super().predict(batch)


def test_a_failed_forward_pass_is_retried_one_by_one(serve: Serve) -> None:
    handler, context = serve(_FailsOnBlue)

    answers = predict(handler, context, colour_image("red"), colour_image("blue"), colour_image("green"))

    assert [status for status, _ in answers] == [200, 500, 200]
    assert "blue is not supported" in answers[1][1]["message"]


class _ShapesDiffer(ImageClassifier):
    def decode(self, body: bytes) -> Tensor:
        pixels = super().decode(body)
        return pixels[:, :8] if pixels[0].mean() > 0 else pixels


def test_images_of_different_shapes_are_answered_all_the_same(serve: Serve) -> None:
    handler, context = serve(_ShapesDiffer)

    answers = predict(handler, context, colour_image("red"), colour_image("blue"))

    assert [answer["label"] for _, answer in answers] == ["red", "blue"]


class _Careless(ImageClassifier):
    def decode(self, body: bytes) -> Tensor:
        if body == colour_image("green"):
            raise BadRequest("green is refused; send another colour")
        if body == colour_image("blue"):
            raise ZeroDivisionError("division by zero")
        return super().decode(body)

    def encode(self, row: Tensor) -> JSON:
        answer = super().encode(row)
        return answer if answer["label"] == "red" else {"not json": object()}


def test_what_a_verb_raises_is_the_answer_of_that_image_alone(serve: Serve) -> None:
    handler, context = serve(_Careless)

    answers = predict(
        handler, context, colour_image("green"), colour_image("blue"), colour_image("white"), colour_image("red")
    )

    statuses = [status for status, _ in answers]
    assert statuses[:2] == [400, 500]
    assert statuses[3] == 200
    assert answers[0][1]["message"] == "green is refused; send another colour"
    assert "ZeroDivisionError" in answers[1][1]["message"]


class _ForgetsToReturn(ImageClassifier):
    def decode(self, body: bytes) -> Any:
        return super().decode(body) if body != colour_image("green") else None


def test_a_decode_that_returns_nothing_fails_alone(serve: Serve) -> None:
    handler, context = serve(_ForgetsToReturn)

    answers = predict(handler, context, colour_image("red"), colour_image("green"), colour_image("blue"))

    assert [status for status, _ in answers] == [200, 500, 200]
    assert "NoneType" in answers[1][1]["message"]


class _Refuses(ImageClassifier):
    def decode(self, body: bytes) -> Tensor:
        if body.isdigit():
            error = BadRequest("refused \ud800")
            error.status = int(body)
            raise error
        return super().decode(body)


@pytest.mark.parametrize(("status", "answered"), [(499, 499), (404, 404), (507, 507), (7, 500), (100_000, 500)])
def test_any_status_of_an_error_is_answered_and_hurts_nobody(serve: Serve, status: int, answered: int) -> None:
    handler, context = serve(_Refuses)

    answers = predict(handler, context, colour_image("red"), str(status).encode(), colour_image("blue"))

    assert [status for status, _ in answers] == [200, answered, 200]
    assert answers[1][1]["code"] == answered
    assert answers[1][1]["message"] == "refused ?"


HALF = "\ud83d"
"""Half of a surrogate pair, as JSON may hold it and UTF-8 may not."""


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({HALF: 1}, 422),
        ({"image": HALF}, 400),
        ({"id": HALF, "inputs": [{"datatype": "BYTES", "data": ["####"]}]}, 400),
        ({"image": "aaaa", "method": HALF}, 422),
    ],
)
@pytest.mark.parametrize("fast", [True, False])
def test_half_a_character_hurts_no_neighbour(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any], status: int, fast: bool
) -> None:
    if not fast:
        monkeypatch.setattr("torchfinch.handler.answers.orjson", None)
    handler, context = serve()

    answers = predict(handler, context, colour_image("red"), body)

    assert [status for status, _ in answers] == [200, status]
    assert isinstance(answers[1][1], dict), "no JSON"


class _Unreadable(ImageClassifier):
    def describe(self) -> JSON:
        return {"not json": object()}


def test_a_request_that_breaks_the_handler_itself_is_answered_alone(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, context = serve(_Unreadable)

    def parse(row: dict[str, Any], headers: dict[str, str], limits: Limits) -> Any:
        return 1 / 0 if row["body"] == b"zero" else requests.parse(row, headers, limits)

    monkeypatch.setattr("torchfinch.handler.image_handler.parse", parse)
    context.new_batch([{}, {"describe": "True"}, {}])
    answers = handler.handle([{"body": b"zero"}, {"body": b""}, {"body": colour_image("red")}], context)

    assert [context.get_response_status(index)[0] for index in range(3)] == [500, 500, 200]
    assert b"ZeroDivisionError" in answers[0]


class _NotFinite(ImageClassifier):
    def predict(self, batch: Tensor) -> Tensor:
        rows = super().predict(batch)
        rows[batch[:, 2].mean(dim=(1, 2)) > 0.9] = float("nan")
        return rows


def test_an_answer_is_never_nan(serve: Serve) -> None:
    handler, context = serve(_NotFinite)

    answers = predict(handler, context, colour_image("red"), colour_image("blue"))

    assert [status for status, _ in answers] == [200, 500]
    assert "finite" in answers[1][1]["message"]


class _LosesRows(ImageClassifier):
    def predict(self, batch: Tensor) -> Tensor:
        return super().predict(batch)[:1]


def test_a_predict_that_loses_rows_is_found_out(serve: Serve) -> None:
    handler, context = serve(_LosesRows, batch_buckets=[1, 4])

    answers = predict(handler, context, colour_image("red"), colour_image("blue"))

    assert [answer["label"] for _, answer in answers] == ["red", "blue"]  # one by one, one row is right


def test_more_images_than_a_batch_holds_are_run_in_turns(serve: Serve) -> None:
    handler, context = serve(batch_buckets=[1, 2])
    colours = ["red", "green", "blue", "red", "blue"]

    answers = predict(handler, context, *(colour_image(name) for name in colours))

    assert [answer["label"] for _, answer in answers] == colours


def test_warm_up_runs_every_bucket_before_the_worker_is_ready(serve: Serve) -> None:
    seen = []

    class Watched(ImageClassifier):
        def predict(self, batch: Tensor) -> Tensor:
            seen.append(len(batch))
            return super().predict(batch)

    serve(Watched, batch_buckets=[4, 1, 2])

    assert seen == [1, 2, 4]


def test_a_network_that_fails_in_warm_up_keeps_the_worker_from_becoming_ready(serve: Serve) -> None:
    class Broken(ImageClassifier):
        def predict(self, batch: Tensor) -> Tensor:
            raise RuntimeError("no kernel for this device")

    with pytest.raises(RuntimeError, match="no kernel"):
        serve(Broken)


def test_forward_passes_keep_no_gradients(serve: Serve) -> None:
    modes = []

    class Watched(ImageClassifier):
        def predict(self, batch: Tensor) -> Tensor:
            modes.append(torch.is_inference_mode_enabled())
            return super().predict(batch)

    handler, context = serve(Watched)
    predict(handler, context, colour_image("red"))

    assert all(modes)
