"""A server for the tests of releases: `python small_server.py FILE`, which behaves as the first word of FILE says."""

import socket
import struct
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BEHAVIOUR = Path(sys.argv[1]).read_text().split()[0]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


class Answer(BaseHTTPRequestHandler):
    """`good`, `slow`, `failing` (each fifth), or for `odd` what the path asks for."""

    protocol_version = "HTTP/1.1"
    count = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        Answer.count += 1
        time.sleep({"slow": 0.4, "odd": 0}.get(BEHAVIOUR, 0.002))
        if BEHAVIOUR == "odd" and self.path != "/":
            getattr(self, self.path.strip("/"))()
        else:
            self.answer(500 if BEHAVIOUR == "failing" and Answer.count % 5 == 0 else 200)

    def answer(self, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("served-by", BEHAVIOUR)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    good = answer

    def refused(self) -> None:
        self.answer(400)

    def failed(self) -> None:
        self.answer(500)

    def dropped(self) -> None:
        self.close_connection = True

    def garbage(self) -> None:
        self.wfile.write(b"SSH-2.0 hello\r\n\r\n")
        self.close_connection = True

    def cut(self) -> None:
        self.begin()
        self.close_connection = True

    def reset(self) -> None:
        self.begin()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def hanging(self) -> None:
        time.sleep(3)

    def stalled(self) -> None:
        self.begin()
        time.sleep(3)

    def begin(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "100")
        self.end_headers()
        self.wfile.write(b"{")
        self.wfile.flush()
        time.sleep(0.05)  # so that the status has been passed on before the end

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Answer)
    print(server.server_address[1], flush=True)
    server.serve_forever()
