"""A wire that can be cut."""

import select
import socket
import threading
from contextlib import suppress
from pathlib import Path

import yaml


class Wire:
    """What lies between a controller and the API server: it can be cut, and what goes through it can be held up."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        server = config["clusters"][0]["cluster"]["server"]
        self._port = int(server.rpartition(":")[2])
        self._open: list[socket.socket] = []
        self._held: set[socket.socket] = set()
        self._whole = True
        self._listener = socket.create_server(("127.0.0.1", 0))
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.kubeconfig = folder / "through-a-wire"
        self.kubeconfig.write_text(yaml.safe_dump(config))
        threading.Thread(target=self._listen, daemon=True).start()

    def cut(self) -> None:
        """Every connection breaks, and a new one breaks at once."""
        self._whole = False
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._whole = True

    def hold(self) -> None:
        """Open connections stay open, but nothing comes through them any more; new ones work."""
        self._held |= set(self._open)

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                if self._whole:
                    far = socket.create_connection(("127.0.0.1", self._port))
                    self._open += [near, far]
                    threading.Thread(target=self._carry, args=(near, far), daemon=True).start()
                else:
                    near.close()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        with near, far, suppress(OSError):
            while True:
                for ready in select.select([near, far], [], [], 1)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if ready not in self._held:
                        (far if ready is near else near).sendall(data)
