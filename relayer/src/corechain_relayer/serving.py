"""Runs the roles of a process behind its ports, until a signal."""

import asyncio
import socket
from collections.abc import Sequence

import structlog
from starlette.routing import Route
from starlette.types import ASGIApp

from corechain.deployment import Deployment
from corechain.implementation import is_native
from corechain.service.http_server import (
    HttpServer,
    also_served,
    bind,
    http_server,
    ops_listener,
    until_stopped,
)
from corechain.service.supervision import Loop, ended_in
from corechain.service.traced_http import sampled_aside, traced
from corechain_relayer.accounts import GUARD, SUBMITTER, WATCHTOWER, has_key, required_account
from corechain_relayer.chain_settings import on_chain
from corechain_relayer.gateway.app import build_app
from corechain_relayer.gateway.direct import DirectReports
from corechain_relayer.metrics import Metrics
from corechain_relayer.mqtt.role import mqtt_sessions
from corechain_relayer.roles import Role, takes_reports, uses_bus
from corechain_relayer.service import Relayer
from corechain_relayer.settings import PREFIX, Settings
from corechain_relayer.transactions.http import admin_routes
from corechain_relayer.transactions.view import View

log = structlog.get_logger(__name__)


async def run(settings: Settings, deployment: Deployment, roles: Sequence[Role]) -> None:
    """Runs the roles until a signal. Raises what stopped them otherwise."""
    if Role.SUBMITTER in roles:  # said at once, not when neighbours that are away have been tried
        required_account(settings, SUBMITTER, deployment.chain_id, Metrics())
    settings = on_chain(settings, deployment.chain_id)
    relayer = Relayer(settings, deployment)
    traces = relayer.trace(roles)
    with (
        bind(PREFIX, settings.http_host, settings.http_port) as listener,
        ops_listener(PREFIX, settings.http_host, settings.ops_port) as ops,
    ):
        try:
            await relayer.prepare(roles)
            server, for_ops, background = _parts(relayer, roles)
            async with also_served(for_ops, ops):
                await _serve(server, listener, background, roles)
        finally:
            await relayer.close()
            await traces.close()
    log.info("stopped")


def _parts(relayer: Relayer, roles: Sequence[Role]) -> tuple[HttpServer, ASGIApp, list[Loop]]:
    """The server of reports, the application of the operations' port, and the loops."""
    settings = relayer.settings
    watching, more = watchers(relayer, roles)
    endpoints = relayer.endpoints(roles)
    shared = (endpoints.gateway, roles, relayer.supervised)
    mqtt = mqtt_sessions(settings, *shared).items()
    direct = DirectReports(endpoints) if Role.GATEWAY in roles else None
    app = build_app(endpoints, more, reports=direct is not None, metrics=settings.ops_port is None)
    limits = (settings.max_connections, settings.keep_alive_s)
    traces = relayer.metrics.traces
    shown, fast = traced(app, traces, "gateway"), sampled_aside(direct, traces)
    server = http_server(shown, *limits, fast, endpoints.count)
    # The guard before all others: it has a deadline, and needs neither bus nor gateway.
    background = guards(relayer, roles) + loops_of(relayer, roles) + watching
    background += [relayer.loop(name, session) for name, session in mqtt]
    admin = admin_routes(settings, View.of(relayer.pool, relayer.rpc), relayer.metrics)
    background += relayer.transaction_loops()  # it knows only now which queues are ours
    return server, build_app(endpoints, admin, reports=False), background


async def _serve(
    server: HttpServer, listener: socket.socket, background: Sequence[Loop], roles: Sequence[Role]
) -> None:
    begun = (loop() for loop in background)
    async with asyncio.TaskGroup() as group, ended_in(group, begun) as loops:
        serving = group.create_task(server.serve(sockets=[listener]))
        await server.until_started()
        port = listener.getsockname()[1]
        log.info("serving", port=port, roles=list(roles), native=is_native())
        await until_stopped(server, serving, loops)


def loops_of(relayer: Relayer, roles: Sequence[Role]) -> list[Loop]:
    """The roles' loops, in order of start."""
    loops = [
        relayer.loop("journal", relayer.migrate),
        relayer.loop("registry", relayer.registry.follow_forever),
    ]
    if Role.SUBMITTER in roles:
        loops += [relayer.lane_submitter(), *relayer.lane_upkeep()]
    if Role.AGGREGATOR in roles:
        loops.append(relayer.aggregator())
    if takes_reports(roles):
        loops.append(relayer.loop("bus-room", relayer.bus.look_forever))
        if relayer.receipts is not None:
            watch = relayer.receipts.keeper.watch_forever
            loops.append(relayer.loop("receipts", relayer.journalled(watch)))
    if uses_bus(roles):
        loops.append(relayer.loop("bus", relayer.bus.write_forever))
        loops.append(relayer.loop("bus-watch", relayer.watch.watch_forever))
    return loops


def watchers(relayer: Relayer, roles: Sequence[Role]) -> tuple[list[Loop], list[Route]]:
    if Role.WATCHTOWER not in roles:
        return [], []
    if not has_key(relayer.settings, WATCHTOWER):
        log.info("no watchtower: RELAYER_WATCHTOWER_KEY is not set")
        return [], []
    return relayer.watchtower()


def guards(relayer: Relayer, roles: Sequence[Role]) -> list[Loop]:
    """Says it loudly when nobody answers for the lane: half of its bond is at stake."""
    guarded, lane = has_key(relayer.settings, GUARD), relayer.settings.lane
    if guarded and Role.GUARD in roles:
        return relayer.guard()
    if not guarded and not {Role.GUARD, Role.SUBMITTER, Role.AGGREGATOR}.isdisjoint(roles):
        log.warning(
            "no guard: its bond is unguarded unless another process runs --role guard for it",
            lane=lane,
            setting="RELAYER_GUARD_KEY",
        )
    return []
