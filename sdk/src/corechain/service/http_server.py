"""uvicorn inside our own task group: our signals, our socket, our logs."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from corechain.open_files import allow_open_files
from corechain.protocol.errors import NotFound, ProtocolError, TransportError
from corechain.service.direct import DirectPath
from corechain.service.direct_protocol import protocol_with
from corechain.service.http_protocol import PROBLEM, problem_bytes
from corechain.service.settings import InvalidSetting
from corechain.service.streams import Streams
from corechain.service.supervision import stop_all

log = structlog.get_logger(__name__)

BACKLOG = 4096
# Connections to database, bus and node, data files, logs: a server that gives all its files to
# clients cannot ask its own database any more.
OWN_FILES = 256
GRACE_S = 5
STARTED_POLL_S = 0.01
OPS_CONNECTIONS, OPS_KEEP_ALIVE_S = 64, 75
"""Of a listener for probes and metrics: a few scrapers and balancers."""


class Listener(socket.socket):
    """A socket that knows which settings its address is from."""

    settings = "the address"

    def refused(self, address: str, error: OSError) -> InvalidSetting:
        """What to raise; closes the socket."""
        self.close()
        return InvalidSetting(f"{self.settings}: {address} cannot be used: {error.strerror}")

    def claim(self) -> None:
        """Listens: from here on the port is ours. Raises InvalidSetting.

        Of processes that start at once each can bind the port, for none of them listens yet
        (SO_REUSEADDR); only the first can listen. Asked here and not left to the event loop:
        uvloop serves on without the address, and says nothing.
        """
        host, port = self.getsockname()[:2]
        try:
            self.listen(BACKLOG)
        except OSError as error:
            raise self.refused(f"{host}:{port}", error) from None


def bind(
    prefix: str, host: str, port: int, names: str = "HTTP", *, shared: bool = False
) -> Listener:
    """An address, taken before anything else starts; who serves at it claims it. Raises
    InvalidSetting.

    `shared`: with other processes of this user that ask for the same (SO_REUSEPORT). `names`: the
    middle of the settings that it comes from.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named: without it an answer of
    # two writes waits 40 ms for the client's delayed acknowledgement.
    bound = Listener(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.settings = f"{prefix}HTTP_HOST and {prefix}{names}_PORT"
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        raise bound.refused(f"{host}:{port}", error) from None
    return bound


def require_unserved(prefix: str, host: str, port: int) -> None:
    """Before an address is shared: of those that share a port the kernel gives each a part of the
    connections, also one of another deployment that somebody forgot. Raises InvalidSetting where
    anybody listens there."""
    with bind(prefix, host, port) as tried:
        tried.claim()


@contextlib.contextmanager
def ops_listener(prefix: str, host: str, port: int | None) -> Iterator[socket.socket | None]:
    """The address of `also_served`, to the end of the block; None without a port. Raises
    InvalidSetting."""
    if port is None:
        yield None
        return
    with bind(prefix, host, port, "OPS") as listener:
        yield listener


class HttpServer(uvicorn.Server):
    """A server that leaves the signals to the process, and serves at all its sockets or at none."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Raises InvalidSetting for a socket whose port is another's."""
        for one in sockets or ():
            if isinstance(one, Listener):
                one.claim()
        await super().startup(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def until_started(self) -> None:
        """Returns when the first connection can come (uvicorn has no event to wait for)."""
        while not self.started:  # noqa: ASYNC110
            await asyncio.sleep(STARTED_POLL_S)


class NotServing(TransportError):
    """The port for requests is not open yet."""


@dataclass(slots=True)
class Serving:
    """A probe of readiness for a process that is operated at a port of its own: that one is open
    first, and whoever is ready there gets requests at the other."""

    server: HttpServer | None = None

    async def probe(self) -> None:
        """Raises NotServing."""
        if self.server is None or not self.server.started:
            raise NotServing("the port for requests is not open yet")


def connections_allowed(max_connections: int, *, is_ops: bool = False) -> int:
    """As many as may be open beside the process's own files; the soft limit is raised for them."""
    open_files = allow_open_files(max_connections + OWN_FILES)
    allowed = open_files - OWN_FILES
    if not is_ops:  # the limit is the process's: said once, with the connections of its clients
        log.info("limit of open files", soft=open_files, connections=max(1, allowed))
    if allowed < max_connections:
        log.warning("fewer connections than set: the limit of open files", connections=allowed)
    return max(1, allowed)


def _without_websockets(app: ASGIApp) -> ASGIApp:
    """The application, and a problem document for who asks for a WebSocket: left to itself the
    server refuses with 403, as if somebody else were let in."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await app(scope, receive, send)
            return
        error = NotFound("no WebSocket at this path")
        fields = [(b"content-type", PROBLEM)]
        kind = "websocket.http.response"
        await send({"type": f"{kind}.start", "status": error.status, "headers": fields})
        await send({"type": f"{kind}.body", "body": problem_bytes(error)})

    return answer


def http_server(
    app: ASGIApp,
    max_connections: int,
    keep_alive_s: int,
    direct: DirectPath | None = None,
    refused: Callable[[ProtocolError], None] = lambda error: None,
    streams: Streams | None = None,
    *,
    is_ops: bool = False,
) -> HttpServer:
    """A server of the application; the requests of the direct path do not pass it, nor those that
    `streams` takes over. `refused` hears of those that the server answers itself: what is no HTTP,
    is too large, or is too much. `is_ops`: of the few that operate the process."""
    # Errors of requests are logged where they are answered, as events.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        _without_websockets(app),
        http=protocol_with(direct, refused, streams),
        # Only refuses: applications here have no WebSocket, and streams take theirs themselves.
        ws="websockets-sansio",
        log_config=None,
        access_log=False,
        lifespan="off",
        backlog=BACKLOG,
        limit_concurrency=connections_allowed(max_connections, is_ops=is_ops),
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=GRACE_S,
        server_header=False,
    )
    return HttpServer(config)


async def until_stopped(
    server: HttpServer,
    serving: asyncio.Task[None],
    loops: Sequence[asyncio.Task[None]],
    stop: asyncio.Event | None = None,
) -> None:
    """Waits for SIGTERM or SIGINT (or `stop`), lets the requests under way finish, then stops the
    loops in reverse order. What is on the bus stays there for the next start."""
    await stop_asked(stop or asyncio.Event())
    server.should_exit = True
    await serving
    await stop_all(loops)


async def stop_asked(stop: asyncio.Event) -> None:
    """Returns at SIGTERM or SIGINT, or when the event is set."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    log.info("stopping")


@contextlib.asynccontextmanager
async def also_served(app: ASGIApp, listener: socket.socket | None) -> AsyncIterator[None]:
    """Serves what operates the process at an address of its own, to the end of the block: longer
    than the requests that are finished at the end. Without a listener, nothing. Raises
    InvalidSetting for a port that another process has by now."""
    if listener is None:
        yield
        return
    # Here already: in the task below the failure would be heard of by nobody.
    if isinstance(listener, Listener):
        listener.claim()
    server = http_server(app, OPS_CONNECTIONS, OPS_KEEP_ALIVE_S, is_ops=True)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await server.until_started()
        yield
    finally:
        server.should_exit = True
        await serving
