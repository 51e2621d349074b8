"""Receivers of alerts: real servers that take, refuse or never answer what is posted to them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from aiohttp import web


@dataclass
class Receiver:
    """A real server; `answer` is what it says, None: nothing at all."""

    answer: int | None = 200
    heard: list[tuple[str, bytes, str]] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = request.headers
        self.heard.append((headers["corechain-delivery"], body, headers["corechain-signature"]))
        if self.answer is None:
            await asyncio.Event().wait()
        return web.Response(status=self.answer or 200, headers={"location": "/elsewhere"})


@asynccontextmanager
async def receiving(*receivers: Receiver) -> AsyncIterator[None]:
    runners = []
    for receiver in receivers:
        app = web.Application()
        app.router.add_post("/{any:.*}", receiver.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook?token=t"
        runners.append(runner)
    try:
        yield
    finally:
        for runner in runners:
            await runner.cleanup()


def deliveries(receiver: Receiver) -> dict[str, bytes]:
    """Each message once, as a receiver takes it, in order."""
    return {delivery: body for delivery, body, _ in receiver.heard}


@contextmanager
def listening() -> Iterator[tuple[str, list[bytes]]]:
    """A URL that takes everything, and the bodies that came: for tests without a loop."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the output is the tests'."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook", bodies
        finally:
            server.shutdown()
            thread.join()
