"""Processes of the indexer: one that does everything, or a supervisor with workers that answer."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from starlette.applications import Starlette

from corechain.collecting import collect_seldom
from corechain.deployment import Deployment
from corechain.implementation import is_native
from corechain.service.expositions import merged
from corechain.service.http_server import (
    HttpServer,
    Serving,
    also_served,
    bind,
    http_server,
    ops_listener,
    require_unserved,
    stop_asked,
    until_stopped,
)
from corechain.service.ops import shown_in
from corechain.service.settings import InvalidSetting
from corechain.service.supervision import Loop, Loops, ended_in, sessions, stop_all
from corechain.service.traced_http import sampled_aside, traced
from corechain.service.worker_processes import (
    STOP_LIMIT_S,
    WorkerProcesses,
    supervisor_gone,
    worker_command,
)
from corechain_indexer.api.app import Api
from corechain_indexer.api.direct import DirectQueries
from corechain_indexer.api.warm import Warming
from corechain_indexer.following import Follower, Role
from corechain_indexer.service import Indexer
from corechain_indexer.settings import PREFIX, Settings

log = structlog.get_logger(__name__)

LOOK_S = 0.02
"""Between two looks whether a new worker can answer; it has been starting for a second by then."""


async def run(
    settings: Settings, deployment: Deployment, roles: Sequence[Role], follower: Follower
) -> None:
    """Runs the roles until a signal. Raises what stopped them otherwise."""
    indexer = Indexer(settings, deployment, follower)
    if Role.API in roles and settings.api_workers > 1:
        await _supervise(settings, indexer, roles)
    else:
        await _run_alone(settings, indexer, roles)


async def _run_alone(settings: Settings, indexer: Indexer, roles: Sequence[Role]) -> None:
    with (
        bind(PREFIX, settings.http_host, settings.http_port) as listener,
        ops_listener(PREFIX, settings.http_host, settings.ops_port) as ops,
    ):
        try:
            serving = Serving()
            api = indexer.api({"serving": serving.probe}, roles)
            app = api.app(queries=Role.API in roles, metrics=ops is None)
            async with also_served(api.app(queries=False), ops):
                loops = indexer.loops(roles, api)
                direct = DirectQueries(api) if Role.API in roles else None
                server = serving.server = _server(settings, api, app, direct)
                # Who does everything is small, or is being tried out: it is there at once.
                before = partial(_can_answer, indexer, api, asyncio.Event())
                only_answers = list(roles) == [Role.API]
                await _serve(
                    server, listener, loops, roles, before=before if only_answers else None
                )
        finally:
            await indexer.close()
    log.info("stopped")


def _server(
    settings: Settings, api: Api, app: Starlette, direct: DirectQueries | None
) -> HttpServer:
    limits = settings.max_connections, settings.keep_alive_s
    streams = None if direct is None else api.stream
    traces = api.metrics.traces
    shown, fast = traced(app, traces, "api"), sampled_aside(direct, traces)
    return http_server(shown, *limits, fast, refused=api.count, streams=streams)


async def _serve(
    server: HttpServer,
    listener: socket.socket,
    loops: Sequence[Loop],
    roles: Sequence[Role],
    stop: asyncio.Event | None = None,
    before: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """`before` returns when the first connection may come; the loops run already."""
    begun = (loop() for loop in loops)
    async with asyncio.TaskGroup() as group, ended_in(group, begun) as tasks:
        if before is not None:
            await before()
        serving = group.create_task(server.serve(sockets=[listener]))
        await server.until_started()
        port = listener.getsockname()[1]
        log.info("serving", port=port, roles=list(roles), native=is_native())
        await until_stopped(server, serving, tasks, stop)


# ------------------------------------------------------------------------------ workers


@dataclass(frozen=True, slots=True)
class _Supervisor:
    """Everything but the answers to queries: the other roles, the upkeep, and the workers."""

    indexer: Indexer
    workers: WorkerProcesses
    states: Loops
    """Of the workers: one that is down does not make the service unready while others answer."""

    def loops(self, roles: Sequence[Role], api: Api) -> list[Loop]:
        restarted = self.indexer.metrics.sessions_restarted
        found = self.indexer.loops(roles, api, serves=False)
        for number in range(self.workers.count):
            name = f"worker {number}"
            session: Callable[[], Awaitable[None]] = partial(self.workers.session, number)
            found.append(partial(sessions, name, session, restarted.labels(name).inc, self.states))
        return found

    async def exposition(self) -> bytes:
        own = self.indexer.metrics.exposition()
        return merged(own, await self.workers.expositions())


async def _supervise(settings: Settings, indexer: Indexer, roles: Sequence[Role]) -> None:
    if settings.ops_port is None:
        raise InvalidSetting(
            f"{PREFIX}API_WORKERS over 1 needs {PREFIX}OPS_PORT: at the port that the workers "
            "share, /metrics would be those of one of them"
        )
    await _unserved(settings)
    with (
        # Bound and never listened at: the port stays ours while no worker lives.
        bind(PREFIX, settings.http_host, settings.http_port, shared=True) as reserved,
        ops_listener(PREFIX, settings.http_host, settings.ops_port) as ops,
        WorkerProcesses(settings.api_workers, _worker_command(reserved)) as workers,
    ):
        supervisor = _Supervisor(indexer, workers, Loops(shown_in(indexer.metrics.loop_state)))
        try:
            api = indexer.api({"workers": workers.ready}, roles)
            app = api.app(queries=False, exposition=supervisor.exposition)
            begun = (loop() for loop in supervisor.loops(roles, api))
            async with (
                also_served(app, ops),
                asyncio.TaskGroup() as group,
                ended_in(group, begun) as tasks,
            ):
                port = reserved.getsockname()[1]
                log.info("supervising", port=port, workers=workers.count, roles=list(roles))
                await stop_asked(asyncio.Event())
                await workers.stop()
                await stop_all(tasks)
        finally:
            await indexer.close()
    log.info("stopped")


async def _unserved(settings: Settings) -> None:
    """Returns when nobody listens at our port. Workers of a supervisor that was killed finish what
    is under way first. Raises InvalidSetting where somebody stays."""
    loop = asyncio.get_running_loop()
    end = loop.time() + STOP_LIMIT_S
    while True:
        try:
            require_unserved(PREFIX, settings.http_host, settings.http_port)
        except InvalidSetting:
            if loop.time() > end:
                raise
            await asyncio.sleep(LOOK_S)
        else:
            return


def _worker_command(reserved: socket.socket) -> list[str]:
    return worker_command("indexer", "worker", "--port", str(reserved.getsockname()[1]))


async def _can_answer(indexer: Indexer, api: Api, stop: asyncio.Event) -> None:
    """Returns when the first query costs what others do, or the database is known to be away:
    until then the other workers answer better. While it is away all say so, as a process alone
    does."""
    while not (  # noqa: ASYNC110 (three things that have no event in common)
        indexer.prepared.is_set() or indexer.supervised.unwell() or stop.is_set()
    ):
        await asyncio.sleep(LOOK_S)
    if indexer.prepared.is_set():
        await Warming(api.handlers, indexer.readers).run()
        collect_seldom()  # once more: what was read stays


def _share(settings: Settings) -> Settings:
    """Of a worker: what is memory for answers, is divided among them."""
    caches = "tree_cache_bytes", "answer_cache_bytes"
    shares = {name: getattr(settings, name) // settings.api_workers for name in caches}
    return settings.model_copy(update=shares)


async def run_worker(
    settings: Settings, deployment: Deployment, number: int, port: int, ops_fd: int
) -> None:
    """One process that answers queries, until a signal or the end of its supervisor."""
    indexer = Indexer(_share(settings), deployment)
    indexer.follower.trace([Role.API])
    stop = asyncio.Event()
    watching = asyncio.create_task(supervisor_gone())
    watching.add_done_callback(lambda _: stop.set())
    structlog.contextvars.bind_contextvars(worker=number)
    with (
        bind(PREFIX, settings.http_host, port, shared=True) as listener,
        socket.socket(fileno=ops_fd) as ops,
    ):
        try:
            serving = Serving()
            api = indexer.api({"serving": serving.probe}, [Role.API])
            app = api.app(queries=True, metrics=False)
            server = serving.server = _server(settings, api, app, DirectQueries(api))
            async with also_served(api.app(queries=False), ops):
                loops = indexer.loops([Role.API], api, keeps=False)
                ready = partial(_can_answer, indexer, api, stop)
                await _serve(server, listener, loops, [Role.API], stop, ready)
        finally:
            watching.cancel()
            await indexer.close()
            await indexer.metrics.traces.close()
    log.info("stopped")
