"""uvicorn inside our own task group: our signals, our socket, our logs."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Sequence

import structlog
import uvicorn
from starlette.types import ASGIApp

from corechain.open_files import allow_open_files
from corechain.protocol.errors import ProtocolError
from corechain.service import websocket_protocol
from corechain.service.direct import DirectPath
from corechain.service.direct_protocol import protocol_with
from corechain.service.settings import InvalidSetting
from corechain.service.supervision import stop_all
from corechain.service.websocket_protocol import BoundedWebSocket

log = structlog.get_logger(__name__)

BACKLOG = 4096
# Connections to database, bus and node, data files, logs: a server that gives all its files to
# clients cannot ask its own database any more.
OWN_FILES = 256
GRACE_S = 5
STARTED_POLL_S = 0.01


def bind(prefix: str, host: str, port: int) -> socket.socket:
    """A listening address, taken before anything else starts. Raises InvalidSetting."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named: without it an answer of
    # two writes waits 40 ms for the client's delayed acknowledgement.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise InvalidSetting(
            f"{prefix}HTTP_HOST and {prefix}HTTP_PORT: {host}:{port} cannot be used: "
            f"{error.strerror}"
        ) from None
    return bound


class HttpServer(uvicorn.Server):
    """A server that leaves the signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def until_started(self) -> None:
        """Returns when the first connection can come (uvicorn has no event to wait for)."""
        while not self.started:  # noqa: ASYNC110
            await asyncio.sleep(STARTED_POLL_S)


def connections_allowed(max_connections: int) -> int:
    """As many as may be open beside the process's own files; the soft limit is raised for them."""
    open_files = allow_open_files(max_connections + OWN_FILES)
    allowed = open_files - OWN_FILES
    log.info("limit of open files", soft=open_files, connections=max(1, allowed))
    if allowed < max_connections:
        log.warning("fewer connections than set: the limit of open files", connections=allowed)
    return max(1, allowed)


def http_server(
    app: ASGIApp,
    max_connections: int,
    keep_alive_s: int,
    direct: DirectPath | None = None,
    refused: Callable[[ProtocolError], None] = lambda error: None,
) -> HttpServer:
    """A server of the application; the requests of the direct path do not pass it. `refused` hears
    of those that the server answers itself: what is no HTTP, is too large, or is too much."""
    # Errors of requests are logged where they are answered, as events.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        app,
        http=protocol_with(direct, refused),
        ws=BoundedWebSocket,
        ws_ping_interval=websocket_protocol.PING_INTERVAL_S,
        ws_ping_timeout=websocket_protocol.PING_TIMEOUT_S,
        ws_max_size=websocket_protocol.MAX_MESSAGE_BYTES,
        log_config=None,
        access_log=False,
        lifespan="off",
        backlog=BACKLOG,
        limit_concurrency=connections_allowed(max_connections),
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=GRACE_S,
        server_header=False,
    )
    return HttpServer(config)


async def until_stopped(
    server: HttpServer, serving: asyncio.Task[None], loops: Sequence[asyncio.Task[None]]
) -> None:
    """Waits for SIGTERM or SIGINT, lets the requests under way finish, then stops the loops in
    reverse order. What is on the bus stays there for the next start."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    log.info("stopping")
    server.should_exit = True
    await serving
    await stop_all(loops)
