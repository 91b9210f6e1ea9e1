"""TorchServe's `config.properties`: read one, and derive that of an instance with its own ports and folders."""

import difflib
import errno
import os
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

from torchfinch.errors import TorchfinchError
from torchfinch.serving.properties import parse

_ADDRESS = "write http://127.0.0.1:8080"
_BROADCAST = "127.255.255.255"
"""Linux lets a server listen here and nobody connect; other kernels let nobody listen."""
_CLOSED = "set grpc_management_address=127.0.0.1 in config.properties; then every program here can manage the models"
_KNOWN = Path(__file__).with_name("torchserve_keys.txt").read_text(encoding="utf-8").split()


def read_properties(path: Path) -> dict[str, str]:
    """Keys and values as TorchServe reads them, without expanding variables.

    Raises:
        TorchfinchError: the file cannot be read, is not UTF-8, a key has no value, or a key is misspelt.
    """
    properties = {}
    try:
        for number, key, value in parse(_text(path)):
            _check_spelling(key, f"{path}, line {number}")
            properties[key] = value
    except ValueError as error:
        raise TorchfinchError(f"{path}, {error}", "write key=value, comments on their own lines") from error
    return properties


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TorchfinchError(f"{path} cannot be read: {error.strerror}", "torchfinch init NAME makes one") from error
    except UnicodeDecodeError as error:
        place = error.object.count(b"\n", 0, error.start) + 1
        raise TorchfinchError(f"{path}, line {place} is not UTF-8: {error.reason}", "save the file as UTF-8") from error


def _check_spelling(key: str, where: str) -> None:
    # torchserve_keys.txt has what TorchServe 0.12.0 reads; anything else it passes over in silence
    near = difflib.get_close_matches(key, _KNOWN, n=1, cutoff=0.85)
    if near and key not in _KNOWN:
        raise TorchfinchError(f"{where} sets {key}, which TorchServe does not know", f"did you mean {near[0]}?")


def port_of(address: str) -> int:
    """The port of an address such as `http://127.0.0.1:8080`.

    Raises:
        TorchfinchError: the address has none, or one that cannot be.
    """
    try:
        port = urlsplit(address).port
    except ValueError as error:
        raise TorchfinchError(f"the address {address} has no possible port: {error}", _ADDRESS) from error
    if port is None:
        raise TorchfinchError(f"the address {address} has no port", _ADDRESS)
    return port


def with_port(address: str, port: int) -> str:
    """An address such as `http://127.0.0.1:8080` with another port."""
    parts = urlsplit(address)
    host = parts.netloc.removesuffix(f":{parts.port}")
    return parts._replace(netloc=f"{host}:{port}").geturl()


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nothing uses, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def check_free(address: str) -> None:
    """Refuse an address such as `http://127.0.0.1:8080` that something listens on, or that cannot be listened on.

    Raises:
        TorchfinchError: the port is taken, or the system says what else is wrong.
    """
    host, port = urlsplit(address).hostname or "", port_of(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = "is taken" if taken else f"cannot be opened on {host}: {error.strerror}"
            hint = "torchfinch serve --stop, or choose another with --port" if taken or host != _BROADCAST else _CLOSED
            raise TorchfinchError(f"port {port} {why}", hint) from error


def expand(value: str) -> str:
    """`value` with every `$$NAME$$` replaced by the environment variable of that name; empty where there is none."""
    return re.sub(r"\$\$(\w+)\$\$", lambda match: os.environ.get(match[1], ""), value)
