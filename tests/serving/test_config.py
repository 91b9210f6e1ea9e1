"""The properties of a server: read, derived, and refused when they make no sense."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from serving.helpers import ROOT

from torchfinch.errors import TorchfinchError
from torchfinch.serving.config import check_free, expand, free_ports, port_of, read_properties, with_port
from torchfinch.serving.instance import DEFAULT, find_instance, start_instance
from torchfinch.serving.properties import render


@pytest.fixture
def shipped() -> dict[str, str]:
    return read_properties(ROOT / "config.properties")


def test_the_shipped_file_opens_nothing_to_the_network(shipped: dict[str, str]) -> None:
    hosts = {key: value for key, value in shipped.items() if key.endswith("_address")}

    assert hosts.pop("management_address").startswith("unix:$$PWD$$/")
    assert all("127." in value for value in hosts.values()), hosts


def test_the_shipped_file_reads_no_url_and_installs_nothing(shipped: dict[str, str]) -> None:
    assert shipped["allowed_urls"] == "none"
    assert shipped["install_py_dep_per_model"] == "false"


def test_the_shipped_file_has_no_comment_behind_a_value(shipped: dict[str, str]) -> None:
    assert not [key for key, value in shipped.items() if "#" in value]


def test_comments_and_blank_lines_are_no_properties(tmp_path: Path) -> None:
    file = tmp_path / "config.properties"
    file.write_text("# one\n\n! two\n a = b=c \n")

    assert read_properties(file) == {"a": "b=c"}


def test_a_line_without_a_value_is_named(tmp_path: Path) -> None:
    file = tmp_path / "config.properties"
    file.write_text("a=b\nnonsense\n")

    with pytest.raises(TorchfinchError, match="line 2 is 'nonsense', which has no value"):
        read_properties(file)


def test_a_misspelt_key_is_told_and_a_foreign_one_is_let_be(tmp_path: Path) -> None:
    file = tmp_path / "config.properties"
    file.write_text("my_own=1\ninference_addres=http://127.0.0.1:8080\n")

    with pytest.raises(TorchfinchError, match=r"line 2 sets inference_addres, .*did you mean inference_address\?"):
        read_properties(file)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TorchfinchError, match="cannot be read: No such file"):
        read_properties(tmp_path / "config.properties")


@pytest.mark.parametrize(
    ("address", "other"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:9000"),
        ("https://0.0.0.0:8443", "https://0.0.0.0:9000"),
        ("http://[::1]:8080", "http://[::1]:9000"),
    ],
)
def test_another_port_leaves_scheme_and_host(address: str, other: str) -> None:
    assert with_port(address, 9000) == other


def test_variables_are_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMEWHERE", "/data")

    assert expand("$$SOMEWHERE$$/x") == "/data/x"


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(4)

    assert len(set(ports)) == 4
    for port in ports:
        check_free(f"http://127.0.0.1:{port}")


def test_where_nobody_may_listen_on_the_broadcast_address_the_setting_is_named() -> None:
    script = (
        "from torchfinch.serving.config import check_free\n"
        "try:\n    check_free('//127.255.255.255:71')\nexcept Exception as error:\n    print(error)\n"
    )
    nobody = ["unshare", "--user", "--net"]  # whom the system lets open no port below 1024
    if shutil.which("unshare") is None or subprocess.run([*nobody, "true"], check=False).returncode:
        pytest.skip("no namespaces here")
    done = subprocess.run([*nobody, sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.startswith("port 71 cannot be opened on 127.255.255.255: ")
    assert "set grpc_management_address=127.0.0.1 in config.properties" in done.stdout


@pytest.mark.parametrize("address", ["http://127.0.0.1", "unix:/tmp/x.sock"])
def test_an_address_without_a_port_is_refused(address: str) -> None:
    with pytest.raises(TorchfinchError, match="has no port"):
        port_of(address)


@pytest.mark.parametrize("port", ["99999", "http", "-1"])
def test_an_impossible_port_is_refused(port: str) -> None:
    with pytest.raises(TorchfinchError, match=f"http://127.0.0.1:{port} has no possible port"):
        port_of(f"http://127.0.0.1:{port}")


def test_a_file_that_is_not_utf_8_is_refused_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "config.properties"
    file.write_bytes("a=b\n# f\xfcr alle\n".encode("latin-1"))

    with pytest.raises(TorchfinchError, match="line 2 is not UTF-8") as raised:
        read_properties(file)
    assert raised.value.hint == "save the file as UTF-8"


@pytest.mark.parametrize("key", ["inference_address", "metrics_address", "grpc_inference_port", "grpc_management_port"])
def test_a_taken_port_is_named_before_anything_starts(store: Path, tmp_path: Path, key: str) -> None:
    keys = ["inference_address", "metrics_address", "grpc_inference_port", "grpc_management_port"]
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = dict(zip(keys, free_ports(4), strict=True)) | {key: port}
        values = {name: f"http://127.0.0.1:{port}" if "address" in name else str(port) for name, port in ports.items()}
        file = tmp_path / "config.properties"
        file.write_text(render({**read_properties(ROOT / "config.properties"), **values}))

        with pytest.raises(TorchfinchError, match=f"^port {port} is taken"):
            start_instance(
                DEFAULT, store=store, models={"colours": "colours.mar"}, properties=file, home=tmp_path / "home"
            )


def test_a_start_under_a_long_path_that_is_refused_leaves_nothing(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    models = {"colours": "colours.mar"}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TorchfinchError, match=f"^port {port} is taken"):
            start_instance("one", store=store, models=models, home=tmp_path / ("deep" * 30), port=port)

    assert not list(temporary.iterdir())


def test_a_file_that_is_no_instance_is_no_instance(tmp_path: Path) -> None:
    folder = tmp_path / "servers" / "one"
    folder.mkdir(parents=True)
    (folder / "instance.json").write_text("{")

    assert find_instance("one", home=tmp_path) is None
