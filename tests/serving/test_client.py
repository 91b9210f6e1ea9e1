"""The client of the inference API."""

import pytest
from serving.helpers import answering, silent

from torchfinch.errors import TorchfinchError
from torchfinch.serving.client import Client, NoAnswerError
from torchfinch.serving.config import free_ports


@pytest.mark.parametrize("url", ["http://127.0.0.1:abc", "http://[::1", "127.0.0.1:8080", "http://a b", "http://"])
def test_an_address_that_is_none_is_told(url: str) -> None:
    with Client(url) as client:
        for ask in (client.predict, client.explain):
            with pytest.raises(TorchfinchError, match="no answer from "):
                ask("digits", b"x")


@pytest.mark.parametrize(("host", "direct"), [("127.0.0.1", False), ("localhost", False), ("127.0.0.2", True)])
def test_a_proxy_of_the_environment_is_not_asked_for_a_server_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, host: str, direct: bool
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_ports(1)[0]}")
    with answering(b"1") as url, Client(url.replace("127.0.0.1", host), direct=direct) as client:
        assert client.predict("digits", b"x").content == 1


def test_a_lost_answer_is_told_from_a_server_that_is_not_there() -> None:
    with answering(None) as url, Client(url) as client, pytest.raises(NoAnswerError, match="disconnected"):
        client.predict("digits", b"x")
    with silent() as url, Client(url, timeout=0.2) as client, pytest.raises(NoAnswerError, match="timed out"):
        client.predict("digits", b"x")
    with Client(f"http://127.0.0.1:{free_ports(1)[0]}") as client, pytest.raises(TorchfinchError) as raised:
        client.predict("digits", b"x")
    assert not isinstance(raised.value, NoAnswerError)
