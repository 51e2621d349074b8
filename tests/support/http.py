"""A real HTTP server that says one thing: what a broken or hostile service could answer."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Script:
    """The answer to every request."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    missing: int = 0
    """Bytes that are announced and never come: the connection ends before."""


class _Server(ThreadingHTTPServer):
    script: Script
    heard: list[Message]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def answer(self) -> None:
        # Unread bytes at the close would reset the connection under the answer.
        self.rfile.read(int(self.headers.get("content-length") or 0))
        script = self.server.script
        self.server.heard.append(self.headers)
        self.send_response(script.status)
        self.send_header("content-type", script.content_type)
        for name, value in script.headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(script.body) + script.missing))
        self.end_headers()
        self.wfile.write(script.body)

    do_GET = do_POST = answer

    def log_message(self, *_: Any) -> None:
        """Silent."""


@contextmanager
def answers(script: Script, heard: list[Message] | None = None) -> Iterator[str]:
    """The URL of a server that gives this answer to everything. `heard`: takes the header fields of
    each request."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.script, server.heard = script, [] if heard is None else heard
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
