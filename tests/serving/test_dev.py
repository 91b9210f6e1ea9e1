"""`torchfinch dev`: the development server in a process of its own, asked by HTTP."""

import base64
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from colours import colour_image, colour_probabilities
from serving.helpers import BIN, plain_archive, within

from torchfinch.serving.config import free_ports

pytestmark = pytest.mark.slow


def development_server(archive: Path) -> Iterator[str]:
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [str(BIN / "torchfinch"), "dev", str(archive), "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            assert within(90, lambda: process.poll() is None and healthy(url))
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0


def healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").json() == {"status": "healthy"}
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def url(colour_archive: Path) -> Iterator[str]:
    yield from development_server(colour_archive)


@pytest.fixture(scope="module")
def plain_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from development_server(plain_archive(tmp_path_factory.mktemp("dev") / "store", "sizes"))


def test_the_requirements_own_route_answers_with_a_list_of_all_probabilities(url: str) -> None:
    body = colour_image("green")
    answer = httpx.post(f"{url}/predict", json={"image": base64.b64encode(body).decode()}).json()

    assert set(answer) == {"predicted_class", "confidence", "probabilities"}
    assert answer["predicted_class"] == 1
    assert answer["probabilities"] == pytest.approx(colour_probabilities(body).tolist(), abs=1e-5)


@pytest.mark.parametrize("content", [{}, {"image": "no base64!"}, {"image": ""}, [], {"image": None}])
def test_the_requirements_own_route_says_what_was_wrong(url: str, content: object) -> None:
    answer = httpx.post(f"{url}/predict", json=content)

    assert answer.status_code in {400, 415, 422}
    assert answer.json()["error"]


def test_predictions_are_those_of_torchserve(url: str) -> None:
    answer = httpx.put(f"{url}/predictions/colours", content=colour_image("blue"))

    assert answer.status_code == 200
    assert answer.headers["torchfinch-model"] == "colours"
    assert answer.json()["label"] == "blue"


def test_files_of_a_form_are_read(url: str) -> None:
    answer = httpx.post(f"{url}/predictions/colours", files={"data": colour_image("red")})

    assert answer.json()["label"] == "red"


def test_a_bad_image_has_its_status(url: str) -> None:
    answer = httpx.post(f"{url}/predictions/colours", content=b"rubbish")

    assert answer.status_code in {400, 415}
    assert answer.json()["message"]


def test_an_explanation_is_a_png(url: str) -> None:
    headers = {"accept": "image/png", "torchfinch-method": "saliency"}
    answer = httpx.post(f"{url}/explanations/colours", content=colour_image("red"), headers=headers, timeout=60)

    assert answer.content.startswith(b"\x89PNG")


def test_the_page_needs_nothing_from_elsewhere(url: str) -> None:
    page = httpx.get(url).text

    assert "colours" in page
    assert "{{" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_a_plain_archive_is_served_as_well(plain_url: str) -> None:
    assert httpx.post(f"{plain_url}/predictions/sizes", content=b"abc").json() == {"size": 3}
