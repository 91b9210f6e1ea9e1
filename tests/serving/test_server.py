"""A real TorchServe: started, asked, hurt and stopped."""

import shutil
import socket
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from colours import colour_image, colour_probabilities, write_colour_run
from PIL import Image

from torchfinch.archive import ServingConfig, pack_run
from torchfinch.errors import TorchfinchError
from torchfinch.serving import Client, Instance, find_instance, readiness, start_instance
from torchfinch.testing import encode_image

pytestmark = pytest.mark.slow
PROPERTIES = Path(__file__).parents[2] / "config.properties"


@pytest.fixture(scope="module")
def server(colour_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """One server with the colour model, for every test that leaves it as it was."""
    home = tmp_path_factory.mktemp("home")
    models = {"colours": colour_archive.name}
    instance = start_instance("one", store=colour_archive.parent, models=models, properties=PROPERTIES, home=home)
    yield instance
    instance.stop()


def exif_rotated() -> bytes:
    """A green image that says it lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode_image(Image.new("RGB", (20, 40), "lime"), "JPEG", exif=exif)


def test_a_batch_of_good_and_bad_images_is_answered_one_by_one(server: Instance) -> None:
    bodies = {
        "red": (colour_image("red"), 200),
        "corrupt": (colour_image("red")[:60], 400),
        "empty": (b"", 400),
        "huge": (encode_image(Image.new("1", (9000, 9000))), 413),
        "cmyk": (encode_image(Image.new("CMYK", (9, 9), (255, 255, 0, 0)), "JPEG"), 200),
        "rotated": (exif_rotated(), 200),
        "one pixel": (encode_image(Image.new("RGB", (1, 1), "red")), 200),
        "pdf": (b"%PDF-1.7", 415),
        "blue": (colour_image("blue"), 200),
    }

    def ask(body: bytes) -> tuple[int, str | None]:
        with Client(server.inference_url) as client:
            answer = client.predict("colours", body)
            return answer.status, answer.content.get("label")

    with ThreadPoolExecutor(len(bodies)) as pool:
        for _ in range(3):
            answers = dict(zip(bodies, pool.map(ask, [body for body, _ in bodies.values()]), strict=True))
            assert {name: status for name, (status, _) in answers.items()} == {n: s for n, (_, s) in bodies.items()}
            labels = [answers[name][1] for name in ("red", "cmyk", "rotated", "one pixel", "blue")]
            assert labels == ["red", "blue", "green", "red", "blue"]


def test_probabilities_over_http_are_those_of_the_evaluation(server: Instance) -> None:
    body = encode_image(Image.effect_noise((50, 70), 90).convert("RGB"), "JPEG")
    with Client(server.inference_url) as client:
        answer = client.predict("colours", body, top_k="all")

    expected = colour_probabilities(body)
    given = [answer.content["probabilities"][label] for label in ("red", "green", "blue")]
    assert given == pytest.approx(expected.tolist(), abs=1e-5)


def test_predictions_and_explanations_under_load_get_their_own_answers(server: Instance) -> None:
    def ask(number: int) -> bool:
        with Client(server.inference_url) as client:
            if number % 2:
                return bool(client.predict("colours", colour_image("red")).content["label"] == "red")
            return client.explain("colours", colour_image("blue")).body.startswith(b"\x89PNG")

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(24)))


def test_readiness_replays_the_golden_requests(server: Instance) -> None:
    [ready] = readiness(server.management, url=server.inference_url, store=server.store)

    assert (ready.model, ready.version, ready.ready, ready.problem) == ("colours", "1.0", 1, None)


def test_management_is_a_socket_that_only_its_owner_can_open(server: Instance) -> None:
    assert stat.S_IMODE(server.socket.stat().st_mode) & 0o077 == 0
    listening = [c.laddr for c in psutil.Process(server.pid).net_connections("tcp") if c.status == "LISTEN"]
    for ip, port in listening:
        address = str(ip).removeprefix("::ffff:")
        assert address.startswith("127.")
        if address == "127.255.255.255":  # gRPC management, which TorchServe always opens
            with pytest.raises(OSError, match=r"unreachable|denied|refused"):
                socket.create_connection((address, port), timeout=2)
    assert len(listening) == 4


def test_a_killed_worker_comes_back_and_only_requests_in_flight_fail(server: Instance) -> None:
    def ask(client: Client) -> int | None:
        try:
            return client.predict("colours", colour_image("red")).status
        except TorchfinchError:  # one that waited for its batch to fill is never answered
            return None

    [version] = server.management.describe("colours")
    psutil.Process(version["workers"][0]["pid"]).kill()
    statuses: list[int | None] = []
    end = time.monotonic() + 90
    with Client(server.inference_url, timeout=30) as client:
        while time.monotonic() < end and statuses[-3:] != [200, 200, 200]:
            statuses.append(ask(client))

    assert statuses[-3:] == [200, 200, 200]
    assert sum(status != 200 for status in statuses) <= 1


def test_two_servers_live_side_by_side(server: Instance, colour_archive: Path, tmp_path: Path) -> None:
    other = start_instance(
        "two",
        store=colour_archive.parent,
        models={"colours": colour_archive.name},
        properties=PROPERTIES,
        home=tmp_path,
    )
    try:
        for instance in (server, other):
            with Client(instance.inference_url) as client:
                assert client.predict("colours", colour_image("green")).content["label"] == "green"
        family = [psutil.Process(other.pid), *psutil.Process(other.pid).children(recursive=True)]
        assert len(family) == 2
    finally:
        other.stop()
    assert not any(process.is_running() for process in family)
    assert find_instance("two", home=tmp_path) is None
    assert not other.socket.exists()


def test_a_full_queue_answers_503_and_recovers(tmp_path: Path) -> None:
    handler = tmp_path / "slow.py"
    handler.write_text(
        "import time\nfrom torchfinch.handler import ImageClassifier\n\n\n"
        "class Slow(ImageClassifier):\n"
        "    def decode(self, body):\n        time.sleep(0.5)\n        return super().decode(body)\n"
    )
    serving = ServingConfig(batch_size=1, job_queue_size=2)
    run = write_colour_run(tmp_path / "run")
    pack_run(run, name="colours", version="1.0", output=tmp_path / "c.mar", handler=handler, serving=serving)
    instance = start_instance("q", store=tmp_path, models={"colours": "c.mar"}, properties=PROPERTIES, home=tmp_path)

    def ask(_: int) -> int:
        with Client(instance.inference_url) as client:
            return client.predict("colours", colour_image("red")).status

    try:
        with ThreadPoolExecutor(12) as pool:
            statuses = list(pool.map(ask, range(12)))
        assert set(statuses) == {200, 503}
        assert ask(0) == 200
    finally:
        instance.stop()


def test_a_model_that_does_not_load_says_why_and_leaves_nothing_running(tmp_path: Path) -> None:
    handler = tmp_path / "mine.py"
    handler.write_text("import a_package_that_is_not_there\n\n\nclass Mine: ...\n")
    run = write_colour_run(tmp_path / "run")
    shutil.rmtree(run / "golden")  # by which packing would have found it
    pack_run(run, name="colours", version="1.0", output=tmp_path / "c.mar", handler=handler)

    with pytest.raises(TorchfinchError, match="No module named 'a_package_that_is_not_there'"):
        start_instance("bad", store=tmp_path, models={"colours": "c.mar"}, properties=PROPERTIES, home=tmp_path)

    assert find_instance("bad", home=tmp_path) is None
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]
