"""The management API of a real server, through its socket."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving.helpers import MISSING_MODULE, plain_archive, silent
from waiting import within

from torchfinch.archive import ServingConfig, pack_run
from torchfinch.errors import TorchfinchError
from torchfinch.serving import Client, Instance, ManagementClient, readiness

pytestmark = pytest.mark.slow


@pytest.fixture
def second(server: Instance) -> Iterator[ManagementClient]:
    """The management of a server that has `sizes` 2.0 beside 1.0."""
    server.management.register("sizes-2.0.mar")
    yield server.management
    server.management.set_default("sizes", "1.0")
    server.management.unregister("sizes", version="2.0")


def test_models_are_listed_and_described(server: Instance) -> None:
    assert server.management.models() == ["colours", "sizes"]
    [described] = server.management.describe("sizes")

    assert described["modelUrl"] == "sizes-1.0.mar"
    assert [worker["status"] for worker in described["workers"]] == ["READY"]


@pytest.mark.parametrize("version", ["1.0", None])
def test_the_handler_tells_about_itself(server: Instance, version: str | None) -> None:
    [described] = server.management.describe("colours", version, customized=True)

    assert "green" in str(described)


def test_a_second_version_is_not_the_default_until_it_is_made_so(server: Instance, second: ManagementClient) -> None:
    assert {each["modelVersion"] for each in second.describe("sizes")} == {"1.0", "2.0"}
    with pytest.raises(TorchfinchError, match="Cannot remove default version"):
        second.unregister("sizes", version="1.0")
    second.set_default("sizes", "2.0")
    with pytest.raises(TorchfinchError, match="Cannot remove default version"):
        second.unregister("sizes", version="2.0")
    with Client(server.inference_url) as client:
        assert client.predict("sizes", b"abc", version="1.0").content == {"size": 3}


@pytest.mark.parametrize(("asked", "given"), [(None, 1), (2, 2)])
def test_an_archive_that_says_its_workers_gets_those_that_are_asked_for(
    server: Instance, colour_run: Path, asked: int | None, given: int
) -> None:
    archive = pack_run(colour_run, name="more", version="1.0", output=server.store / "more.mar")
    server.management.register(archive.name, workers=asked)
    try:
        assert [(r.ready, r.workers) for r in readiness(server.management, model="more")] == [(given, given)]
    finally:
        server.management.unregister("more")
        archive.unlink()


def test_workers_are_scaled_up_and_down(server: Instance) -> None:
    try:
        server.management.scale("sizes", 2)
        assert [(r.ready, r.workers) for r in readiness(server.management, model="sizes")] == [(2, 2)]
    finally:
        server.management.scale("sizes", 1)
    assert within(30, lambda: [r.workers for r in readiness(server.management, model="sizes")] == [1])


def test_a_model_without_workers_is_not_ready(server: Instance) -> None:
    try:
        server.management.scale("sizes", 0)
        assert not server.management.ready("sizes")
        [found] = readiness(server.management, model="sizes")
        assert found.problem == "workers are none"
    finally:
        server.management.scale("sizes", 1)
    assert within(30, lambda: server.management.ready("sizes"))


def test_a_golden_request_waits_as_long_as_the_model_may_take(server: Instance, colour_run: Path) -> None:
    quick = ServingConfig(response_timeout=1)
    archive = pack_run(colour_run, name="quick", version="1.0", output=server.store / "quick.mar", serving=quick)
    server.management.register(archive.name)
    try:
        with silent() as url:
            [found] = readiness(server.management, model="quick", url=url, store=server.store)
        assert found.problem == f"no answer from {url}: timed out"
    finally:
        server.management.unregister("quick")
        archive.unlink()


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        ("nothing.mar", "Model not found at: nothing.mar"),
        ("../model_store/sizes-2.0.mar", "Relative path is not allowed"),
        ("file:///etc/passwd", "does not match any allowed URL"),
        ("https://example.com/evil.mar", "does not match any allowed URL"),
        ("sizes-1.0.mar", "Model version 1.0 is already registered"),
    ],
)
def test_what_may_not_be_loaded_is_refused_in_the_servers_words(server: Instance, archive: str, words: str) -> None:
    with pytest.raises(TorchfinchError, match=re.escape(words)):
        server.management.register(archive)


def test_an_archive_that_does_not_load_leaves_the_others_alone(server: Instance, store: Path, tmp_path: Path) -> None:
    broken = plain_archive(tmp_path / "broken", "broken", MISSING_MODULE)
    shutil.copy(broken, store)
    with pytest.raises(TorchfinchError, match="Failed to start workers"):
        server.management.register(broken.name)

    assert server.management.models() == ["colours", "sizes"]
    with Client(server.inference_url) as client:
        assert client.predict("sizes", b"abc").content == {"size": 3}


def test_an_unknown_model_is_told_in_one_sentence(server: Instance) -> None:
    with pytest.raises(TorchfinchError, match="Model not found: nobody"):
        server.management.describe("nobody")
