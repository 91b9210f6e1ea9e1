"""The development server: the requirement's routes beside TorchServe's, and a page."""

import base64
from pathlib import Path

import pytest
from colours import colour_image
from flask.testing import FlaskClient

from torchfinch.serving.dev import create_app


@pytest.fixture
def client(colour_archive: Path, tmp_path: Path) -> FlaskClient:
    """A client of the colour archive's development server."""
    return create_app(colour_archive, tmp_path / "model").test_client()


def test_the_requirements_route_answers_with_a_list_of_all_probabilities(client: FlaskClient) -> None:
    image = base64.b64encode(colour_image("green")).decode()
    answer = client.post("/predict", json={"image": image})

    assert answer.status_code == 200
    content = answer.get_json()
    assert content["predicted_class"] == 1
    assert len(content["probabilities"]) == 3
    assert content["confidence"] == max(content["probabilities"])


@pytest.mark.parametrize("content", [{}, {"image": "####"}, {"image": base64.b64encode(b"text").decode()}])
def test_the_requirements_route_says_what_is_wrong(client: FlaskClient, content: dict[str, str]) -> None:
    answer = client.post("/predict", json=content)

    assert answer.status_code in {400, 422}
    assert answer.get_json()["error"]


def test_health_is_as_the_requirement_has_it(client: FlaskClient) -> None:
    assert client.get("/health").get_json() == {"status": "healthy"}


def test_predictions_and_explanations_answer_as_torchserve_does(client: FlaskClient) -> None:
    good = client.post("/predictions/colours", data=colour_image("red"), content_type="image/png")
    bad = client.put("/predictions/colours", data=b"no image", content_type="image/png")
    heatmap = client.post("/explanations/colours", data=colour_image("red"), headers={"accept": "image/png"})

    assert good.get_json()["label"] == "red"
    assert good.headers["torchfinch-version"] == "1.0"
    assert bad.status_code == 400
    assert heatmap.data.startswith(b"\x89PNG")


def test_the_page_names_the_model_and_loads_nothing_from_elsewhere(client: FlaskClient) -> None:
    page = client.get("/").get_data(as_text=True)

    assert "<title>colours 1.0" in page
    assert "http://" not in page
    assert "https://" not in page
