"""HTTP listeners on loopback that remember what they heard; each runs in a thread."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Heard(NamedTuple):
    """One request that arrived."""

    path: str
    headers: dict[str, str]
    body: bytes


class Listener(NamedTuple):
    """A listener and what it heard."""

    port: int
    heard: list[Heard]


@contextmanager
def listening(*statuses: int, context: ssl.SSLContext | None = None) -> Iterator[Listener]:
    """A listener that answers with these in turn, the last one for ever; 302 names itself."""
    heard: list[Heard] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append(Heard(self.path, dict(self.headers), body))
            status = statuses[min(len(heard), len(statuses)) - 1] if statuses else 200
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = True

        def handle_error(self, *_: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Listener(server.server_address[1], heard)
        finally:
            server.shutdown()
            thread.join()
