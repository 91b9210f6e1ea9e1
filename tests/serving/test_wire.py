"""Every form of a request through a real TorchServe, what it counts, and that it answers as the evaluation does."""

import base64
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from colours import LABELS, colour_image, colour_probabilities
from waiting import within

from torchfinch.evaluation import load_model, outputs
from torchfinch.handler import open_image
from torchfinch.release.exposition import samples
from torchfinch.serving import Client, Instance
from torchfinch.testing import encode_image

pytestmark = pytest.mark.slow
Post = Callable[..., httpx.Response]
RED, BLUE = colour_image("red"), colour_image("blue")
RED64, BLUE64 = (base64.b64encode(body).decode() for body in (RED, BLUE))


@pytest.fixture
def post(server: Instance) -> Iterator[Post]:
    """Send a request to a route of the shared server."""
    with httpx.Client(base_url=server.inference_url, timeout=60, trust_env=False) as client:
        yield client.post


@pytest.mark.parametrize("part", [{"image": RED}, {"picture": ("a.png", RED, "image/png")}])
def test_a_form_with_a_file_and_an_option_gets_one_object(post: Post, part: dict[str, Any]) -> None:
    answer = post("/predictions/colours", files=part, data={"top_k": "1"})

    assert answer.status_code == 200
    assert answer.json()["probabilities"].keys() == {"red"}


def test_a_form_with_several_files_gets_a_list(post: Post) -> None:
    answer = post("/predictions/colours", files={"one": RED, "two": RED[:60], "three": BLUE})

    first, second, third = answer.json()["predictions"]
    assert (answer.status_code, first["label"], second["error"]["code"], third["label"]) == (200, "red", 400, "blue")


@pytest.mark.parametrize("name", ["image", "data"])
def test_json_with_base64_gets_one_object(post: Post, name: str) -> None:
    answer = post("/predictions/colours", json={name: BLUE64, "top_k": "all"})

    assert answer.status_code == 200
    assert answer.json()["probabilities"].keys() == set(LABELS)


@pytest.mark.parametrize("route", ["/predictions/colours", "/predictions/colours/1.0", "/v1/models/colours:predict"])
def test_kserve_v1_is_answered_one_by_one(post: Post, route: str) -> None:
    answer = post(route, json={"instances": [{"b64": RED64}, {"b64": "####"}, {"image": {"b64": BLUE64}}]})

    first, second, third = answer.json()["predictions"]
    assert (answer.status_code, first["label"], second["error"]["code"], third["label"]) == (200, "red", 400, "blue")


@pytest.mark.parametrize("route", ["/predictions/colours", "/v2/models/colours/infer"])
def test_kserve_v2_is_answered_with_outputs(post: Post, route: str) -> None:
    tensor = {"name": "images", "shape": [2], "datatype": "BYTES", "data": [RED64, BLUE64]}
    answer = post(route, json={"id": "42", "inputs": [tensor]})

    content = answer.json()
    assert (answer.status_code, content["id"], content["model_name"]) == (200, "42", "colours")
    [output] = content["outputs"]
    assert [json.loads(each)["label"] for each in output["data"]] == ["red", "blue"]


@pytest.mark.parametrize("route", ["/explanations/colours", "/v1/models/colours:explain", "/v2/models/colours/explain"])
def test_the_routes_of_explanations_explain(post: Post, route: str) -> None:
    answer = post(route, json={"image": RED64, "method": "saliency"})

    assert (answer.status_code, answer.json()["method"]) == (200, "saliency")


def test_no_header_of_a_client_makes_a_prediction_something_else(post: Post) -> None:
    headers = {"describe": "True", "explain": "True", "Explain": "True"}

    for name, value in headers.items():
        assert post("/predictions/colours", content=RED, headers={name: value}).json()["label"] == "red"
        assert "confidence" in post("/predictions/colours", content=RED, headers={name: value}).json()


def test_metrics_grow_by_what_was_sent(start: Callable[..., Instance]) -> None:
    instance = start(models={"colours": "colours.mar"})
    sent = [*[(RED, 200)] * 3, *[(BLUE, 200)] * 2, (b"no image", 400)]
    with Client(instance.inference_url) as client:
        assert [client.predict("colours", body).status for body, _ in sent] == [status for _, status in sent]

    def counted(name: str, **labels: str) -> float:
        page = samples(httpx.get(instance.metrics_url, trust_env=False).text)
        found = [s for s in page if s.name == f"torchfinch_{name}" and labels.items() <= s.labels.items()]
        return sum(each.value for each in found)

    assert within(20, lambda: counted("requests_total") == len(sent))
    assert within(20, lambda: counted("stage_seconds_count", stage="total") == len(sent))
    assert {code: counted("requests_total", code=code) for code in ("200", "400", "500")} == {
        "200": 5,
        "400": 1,
        "500": 0,
    }
    assert [counted("predictions_total", **{"class": number}) for number in "012"] == [3, 0, 2]
    certain = float(colour_probabilities(RED).max())  # as sure of blue as of red
    assert counted("confidence_sum") == pytest.approx(5 * certain, rel=1e-3)
    edges = {le: counted("confidence_bucket", le=le) for le in ("0.05", "1", "+Inf")}
    assert (edges, counted("confidence_count")) == ({"0.05": 0, "1": 5, "+Inf": 5}, 5)
    for stage in ("total", "decode", "predict", "encode"):
        assert counted("stage_seconds_count", stage=stage) == len(sent)
        assert counted("stage_seconds_bucket", stage=stage, le="+Inf") == len(sent)
        assert 0 < counted("stage_seconds_bucket", stage=stage, le="10") <= len(sent)
    assert counted("stage_seconds_sum", stage="total") >= counted("stage_seconds_sum", stage="decode") > 0


def test_probabilities_are_those_of_the_evaluation_also_in_a_batch(server: Instance, colour_archive: Path) -> None:
    random = np.random.default_rng(1)
    images = [random.random((40 + n, 70 - n, 3)) * random.random(3) * 255 for n in range(8)]
    bodies = [encode_image(image.astype(np.uint8), "JPEG") for image in images]
    model = load_model(colour_archive)
    pixels = torch.stack([model.preprocessing.pixels(open_image(body)) for body in bodies])
    expected = outputs(model.network, pixels, preprocessing=model.preprocessing).softmax(dim=1)

    def ask(body: bytes) -> list[float]:
        with Client(server.inference_url) as client:
            found = client.predict("colours", body, top_k="all").content["probabilities"]
        return [found[label] for label in LABELS]

    with ThreadPoolExecutor(len(bodies)) as pool:
        assert torch.tensor(list(pool.map(ask, bodies))).sub(expected).abs().max() <= 1e-5
