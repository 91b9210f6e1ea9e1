"""The development server: routes of its own beside TorchServe's, and a page."""

import base64
from pathlib import Path

import pytest
from colours import colour_image
from flask.testing import FlaskClient
from serving.helpers import NO_LABELS, plain_archive

from torchfinch.errors import TorchfinchError
from torchfinch.serving.dev import create_app


@pytest.fixture
def client(colour_archive: Path, tmp_path: Path) -> FlaskClient:
    """A client of the colour archive's development server."""
    return create_app(colour_archive, tmp_path / "model").test_client()


def test_predict_answers_with_a_list_of_all_probabilities(client: FlaskClient) -> None:
    image = base64.b64encode(colour_image("green")).decode()
    answer = client.post("/predict", json={"image": image})

    assert answer.status_code == 200
    content = answer.get_json()
    assert content["predicted_class"] == 1
    assert len(content["probabilities"]) == 3
    assert content["confidence"] == max(content["probabilities"])


@pytest.mark.parametrize("content", [{}, {"image": "####"}, {"image": base64.b64encode(b"text").decode()}])
def test_predict_says_what_is_wrong(client: FlaskClient, content: dict[str, str]) -> None:
    answer = client.post("/predict", json=content)

    assert answer.status_code in {400, 422}
    assert answer.get_json()["error"]


RED64 = base64.b64encode(colour_image("red")).decode()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"[1, 2]", "application/json"),
        (b"null", "application/json"),
        (b'{"image": null}', "application/json"),
        (b'{"image": ["%s", "%s"]}' % (RED64.encode(), RED64.encode()), "application/json"),
        (b'{"image": "%s", "top_k": 1}' % RED64.encode(), "application/json"),
        (b"{", "application/json"),
        (b"", "text/plain"),
        (b"a=b", "application/x-www-form-urlencoded"),
    ],
)
def test_predict_answers_any_wrong_body_with_json(client: FlaskClient, body: bytes, content_type: str) -> None:
    answer = client.post("/predict", data=body, content_type=content_type)

    assert answer.status_code in {400, 422}
    assert answer.get_json()["error"]


def test_predict_takes_bare_bytes_too(client: FlaskClient) -> None:
    answer = client.post("/predict", data=colour_image("blue"))

    assert answer.status_code == 200
    assert len(answer.get_json()["probabilities"]) == 3


def test_an_address_that_is_none_is_answered_with_json(client: FlaskClient) -> None:
    assert client.get("/nothing").get_json()["code"] == 404


def test_health_is_healthy(client: FlaskClient) -> None:
    assert client.get("/health").get_json() == {"status": "healthy"}


def test_predictions_and_explanations_answer_as_torchserve_does(client: FlaskClient) -> None:
    good = client.post("/predictions/colours", data=colour_image("red"), content_type="image/png")
    bad = client.put("/predictions/colours", data=b"no image", content_type="image/png")
    heatmap = client.post("/explanations/colours", data=colour_image("red"), headers={"accept": "image/png"})

    assert good.get_json()["label"] == "red"
    assert good.headers["torchfinch-version"] == "1.0"
    assert bad.status_code == 400
    assert heatmap.data.startswith(b"\x89PNG")


def test_a_version_may_be_named_as_at_torchserve(client: FlaskClient) -> None:
    named = client.post("/predictions/colours/1.0", data=colour_image("red"), content_type="image/png")
    heatmap = client.put("/explanations/colours/1.0", data=colour_image("red"), headers={"accept": "image/png"})

    assert named.get_json()["label"] == "red"
    assert heatmap.data.startswith(b"\x89PNG")
    assert client.post("/predictions/colours/2.0", data=colour_image("red")).status_code == 404


def test_a_handler_that_does_not_load_is_one_line_and_its_traceback(tmp_path: Path) -> None:
    archive = plain_archive(tmp_path / "store", "broken", NO_LABELS)

    with pytest.raises(TorchfinchError) as raised:
        create_app(archive, tmp_path / "model")

    first, second, *_ = raised.value.message.splitlines()
    assert first == "the handler does not load: ValueError: labels.json is missing"
    assert second == "Traceback (most recent call last):"


def test_the_page_names_the_model_and_loads_nothing_from_elsewhere(client: FlaskClient) -> None:
    page = client.get("/").get_data(as_text=True)

    assert "<title>colours 1.0" in page
    assert "http://" not in page
    assert "https://" not in page
