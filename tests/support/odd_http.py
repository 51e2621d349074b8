"""An HTTP proxy in front of a real server that gives odd answers of its own when a test says so."""

import http.client
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from corechain.devnet.process import LOCALHOST

from .processes import PATIENCE_S

PER_CONNECTION = ("connection", "keep-alive", "transfer-encoding", "content-length", "host")


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Odd:
    """An answer that the real server did not give."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Rule = Callable[[Asked], Odd | None]
"""What is answered instead of the server's answer; None to ask it."""


class OddProxy:
    """`rule` may be changed at any time; `asked` has every request."""

    def __init__(self, target: int) -> None:
        self.rule: Rule = lambda asked: None
        self.asked: list[Asked] = []
        self._server = ThreadingHTTPServer((LOCALHOST, 0), _handler(self, target))

    @property
    def url(self) -> str:
        return f"http://{LOCALHOST}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(proxy: OddProxy, target: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            asked = Asked(self.path, dict(self.headers), self.rfile.read(length))
            proxy.asked.append(asked)
            answer = proxy.rule(asked) or _forwarded(target, asked)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing: the test has `asked`."""

    return Handler


def _forwarded(target: int, asked: Asked) -> Odd:
    connection = http.client.HTTPConnection(LOCALHOST, target, timeout=PATIENCE_S)
    try:
        connection.request("POST", asked.path, asked.body, dict(asked.headers))
        answer = connection.getresponse()
        headers = {k: v for k, v in answer.getheaders() if k.lower() not in PER_CONNECTION}
        return Odd(answer.status, answer.read(), headers)
    finally:
        connection.close()
