"""How TorchServe listens in a pod: the properties that the image of a model carries."""

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from serving.helpers import ROOT

from torchfinch.errors import TorchfinchError
from torchfinch.serving import Client, Instance
from torchfinch.serving.config import free_ports, read_properties
from torchfinch.serving.instance import DEFAULT, start_instance

FILE = ROOT / "k8s" / "images" / "config.properties"


def test_a_pod_serves_on_its_own_address_and_management_is_open_to_nobody() -> None:
    found = read_properties(FILE)
    open_to = {key: value for key, value in found.items() if key.endswith("_address")}
    assert open_to.pop("grpc_management_address") == "127.255.255.255"  # which nobody can connect to
    assert all("$$POD_IP$$" in value for value in open_to.values()), open_to
    assert "management_address" not in found  # torchfinch serve makes it a socket file


def test_a_pod_differs_from_the_project_only_in_where_it_listens() -> None:
    own, project = read_properties(FILE), read_properties(ROOT / "config.properties")
    where = {key for key in project if key.endswith(("_address", "_port"))}
    given = {"use_native_io", "model_store", "load_models"}  # by torchfinch serve, whatever the file says
    assert {key: value for key, value in own.items() if key not in where} == {
        key: value for key, value in project.items() if key not in where | given
    }


@pytest.mark.slow
def test_an_image_that_is_run_alone_answers_at_every_address(
    start: Callable[..., Instance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [given] = re.findall(r"^ENV POD_IP=(.*)$", (FILE.parent / "Containerfile").read_text(), re.MULTILINE)
    monkeypatch.setenv("POD_IP", given)
    file = tmp_path / "config.properties"
    text, ports = FILE.read_text(), free_ports(3)
    for port, free in zip((8080, 8082, 7070), ports, strict=True):
        text = text.replace(str(port), str(free))
    file.write_text(text)
    start(DEFAULT, properties=file)
    with Client(f"http://127.0.0.2:{ports[0]}") as client:
        assert client.predict("sizes", b"abc").content == {"size": 3}


def test_the_address_from_the_environment_is_looked_at_before_anything_starts(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POD_IP", "127.0.0.77")
    with socket.socket() as taken:
        taken.bind(("127.0.0.77", 8080))
        taken.listen()
        with pytest.raises(TorchfinchError, match="port 8080 is taken"):
            start_instance(DEFAULT, store=store, models={"colours": "colours.mar"}, properties=FILE, home=tmp_path)
