"""Every form in which an image may be sent, and the form of its answer."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from colours import colour_image

from torchfinch.testing import predict

Serve = Callable[..., tuple[Any, Any]]
RED, BLUE = colour_image("red"), colour_image("blue")
RED64, BLUE64 = (base64.b64encode(body).decode() for body in (RED, BLUE))


def send(serve: Serve, row: dict[str, Any], **headers: str) -> tuple[int, Any]:
    """Send one row as TorchServe hands it over."""
    handler, context = serve()
    context.new_batch([headers])
    [answer] = handler.handle([row], context)
    return context.get_response_status(0)[0], json.loads(answer)


@pytest.mark.parametrize(
    "row",
    [
        {"body": bytearray(RED)},
        {"data": RED},
        {"picture": RED},
        {"body": {"image": RED64}},
        {"body": {"data": RED64}},
        {"body": json.dumps({"image": RED64}).encode()},
        {"body": {"image": f"data:image/png;base64,{RED64}"}},
        {"body": {"image": RED64.rstrip("=").replace("+", "-").replace("/", "_")}},
        {"body": RED64},
        {"image": RED, "top_k": b"1"},
    ],
    ids=["bytes", "data", "multipart", "image", "requirement", "undecoded", "data-url", "url-safe", "text", "fields"],
)
def test_one_image_gets_one_object(serve: Serve, row: dict[str, Any]) -> None:
    status, answer = send(serve, row)

    assert status == 200
    assert answer["label"] == "red"
    assert answer["predicted_class"] == 0


def test_kserve_v1_instances_are_answered_in_order_each_with_its_own_error(serve: Serve) -> None:
    instances = [{"b64": RED64}, {"b64": "####"}, {"image": {"b64": BLUE64}}, 7]

    status, answer = send(serve, {"body": {"instances": instances}})

    assert status == 200
    first, second, third, fourth = answer["predictions"]
    assert (first["label"], third["label"]) == ("red", "blue")
    assert second["error"]["code"] == 400
    assert fourth["error"]["code"] == 422


def test_a_request_fails_when_all_of_its_images_fail(serve: Serve) -> None:
    status, answer = send(serve, {"body": {"instances": ["####", "aaaa"]}})

    assert status == 400
    assert [each["error"]["code"] for each in answer["predictions"]] == [400, 400]


def test_kserve_v2_echoes_its_identifier(serve: Serve) -> None:
    tensor = {"name": "images", "shape": [2], "datatype": "BYTES", "data": [RED64, BLUE64]}

    status, answer = send(serve, {"body": {"id": "42", "inputs": [tensor]}})

    assert status == 200
    assert answer["id"] == "42"
    assert answer["model_name"] == "colours"
    [output] = answer["outputs"]
    assert output["shape"] == [2]
    assert [json.loads(text)["label"] for text in output["data"]] == ["red", "blue"]


def test_a_request_without_a_body_is_told_how_to_send_one(serve: Serve) -> None:
    status, answer = send(serve, {})

    assert status == 400
    assert "curl -T" in answer["message"]


def test_several_files_of_a_form_get_a_list(serve: Serve) -> None:
    status, answer = send(serve, {"image": RED, "second": BLUE, "top_k": b"1"})

    assert status == 200
    assert [each["label"] for each in answer["predictions"]] == ["red", "blue"]


def test_a_text_field_beside_a_file_is_no_image(serve: Serve) -> None:
    status, answer = send(serve, {"image": RED, "comment": "für später".encode(), "empty": b""})

    assert status == 200
    assert answer["label"] == "red"


def test_an_image_that_is_missing_is_called_missing(serve: Serve) -> None:
    status, answer = send(serve, {"body": {"image": None}})

    assert status == 422
    assert answer["message"] == "an image is missing, or null; send base64 text"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"instances": []}, 422),
        ({"instances": "red"}, 422),
        ({"inputs": [{"datatype": "FP32", "data": [1.0]}]}, 422),
        ({"image": 7}, 422),
        ([], 422),
        ({"image": RED64, "top_k": 0}, 422),
        ({"image": RED64, "top_k": "many"}, 422),
        ({"image": RED64, "method": "magic"}, 422),
        ({"image": RED64, "format": "gif"}, 422),
        *(({"image": RED64, name: []}, 422) for name in ("format", "method", "top_k", "target")),
        *(({"image": RED64, name: {}}, 422) for name in ("format", "method", "top_k", "target")),
        ({"image": ""}, 400),
        (b"[" * 100_000, 400),
    ],
)
def test_requests_that_make_no_sense_are_told_so(serve: Serve, body: Any, expected: int) -> None:
    status, answer = send(serve, {"body": body})

    assert status == expected
    assert answer["code"] == expected


def test_probabilities_hold_what_the_archive_says_unless_more_is_asked(serve: Serve) -> None:
    _, default = send(serve, {"body": RED})
    _, everything = send(serve, {"body": RED}, **{"Torchfinch-Top-K": "all"})
    _, one = send(serve, {"body": {"image": RED64, "top_k": 1}})
    _, too_many = send(serve, {"body": RED}, **{"torchfinch-top-k": "99"})

    assert [len(answer["probabilities"]) for answer in (default, everything, one, too_many)] == [2, 3, 1, 3]
    assert sum(everything["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_answers_name_model_version_and_wire_format(serve: Serve) -> None:
    handler, context = serve()
    predict(handler, context, RED, b"")

    for index in (0, 1):
        headers = context.get_response_headers(index)
        assert headers["torchfinch-model"] == "colours"
        assert headers["torchfinch-version"] == "1.0"
        assert headers["torchfinch-wire"] == "1"


def test_describe_tells_classes_preprocessing_and_where_the_model_comes_from(serve: Serve) -> None:
    _, answer = send(serve, {"body": b""}, describe="True")

    assert answer["classes"] == ["red", "green", "blue"]
    assert answer["preprocessing"]["size"] == [16, 16]
    assert answer["metrics"] == {"test_accuracy": 1.0}
    assert answer["data_digest"] == "0" * 64
    assert answer["engine"].startswith("torch ")


def test_only_what_torchserve_itself_marks_is_no_prediction(serve: Serve) -> None:
    _, spelt_otherwise = send(serve, {"body": RED}, explain="False", Explain="True", describe="True")
    _, explained = send(serve, {"body": RED}, explain="True", describe="True")

    assert "confidence" in spelt_otherwise
    assert "attributions" in explained
