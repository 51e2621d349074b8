"""Puts the bridge together and runs it: uploads, pollers, the way to the gateway."""

import asyncio
import fcntl
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from corechain.async_client import AsyncClient
from corechain.deployment import Deployment
from corechain.protocol.errors import ProtocolError
from corechain.service.health import Health
from corechain.service.http_server import (
    HttpServer,
    Listener,
    also_served,
    bind,
    http_server,
    ops_listener,
    until_stopped,
)
from corechain.service.ops import Ops, shown_in
from corechain.service.settings import InvalidSetting
from corechain.service.supervision import Loops, Reporter, ended_in, sessions
from corechain.service.traced_http import traced
from corechain.service.workers import Workers
from corechain_relayer.bridge.app import Endpoints, build_app, build_ops_app, without_token
from corechain_relayer.bridge.aprs_is import AprsServer
from corechain_relayer.bridge.intake import Intake
from corechain_relayer.bridge.keys import KeyFolder
from corechain_relayer.bridge.metrics import Metrics
from corechain_relayer.bridge.poller import Poller
from corechain_relayer.bridge.sender import Sender
from corechain_relayer.bridge.settings import PREFIX, Settings
from corechain_relayer.bridge.store import BridgeStore
from corechain_relayer.bridge.uplinks import Uplinks
from corechain_relayer.gateway.body import BodyLimits

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import ASGIApp

log = structlog.get_logger(__name__)

KEYS, LOCK, MQTT = "keys", "lock", "mqtt"


@contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Two bridges on one folder would send everything twice. Raises InvalidSetting for a second."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The lock goes with the process, however it ends.
    with (settings.data_dir / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidSetting("BRIDGE_DATA_DIR: another bridge runs on it") from None
        yield


@contextmanager
def aprs_listener(settings: Settings) -> Iterator[Listener | None]:
    """Where stations speak APRS-IS, to the end of the block; None without a port. Raises
    InvalidSetting."""
    if settings.aprs_port is None:
        yield None
        return
    with bind(PREFIX, settings.http_host, settings.aprs_port, "APRS") as listener:
        # At once: the loop that serves at it is under supervision, and would try for ever.
        listener.claim()
        yield listener


def client_of(settings: Settings, deployment: Deployment) -> AsyncClient:
    """The bridge asks the gateway alone: the query API and, but for registrations, the node are not
    its business."""
    gateway = settings.gateway_url.get_secret_value()
    node = settings.rpc_url.get_secret_value() if settings.rpc_url else gateway
    return AsyncClient(gateway, gateway, node, deployment)


@dataclass(slots=True)
class Bridge:
    """All parts of one process."""

    settings: Settings
    deployment: Deployment
    aprs: Listener | None = None
    metrics: Metrics = field(default_factory=Metrics)
    supervised: Loops = field(default_factory=Loops)
    work: asyncio.Event = field(default_factory=asyncio.Event)
    worker: Workers = field(default_factory=lambda: Workers("bridge", 1))
    client: AsyncClient = field(init=False)
    store: BridgeStore = field(init=False)
    intake: Intake = field(init=False)
    sender: Sender = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self.supervised.changed = shown_in(self.metrics.loop_state)
        told = self.metrics.spans_told
        self.metrics.traces = settings.traces(PREFIX, "corechain-bridge", told)
        self.client = client_of(settings, self.deployment)
        self.store = BridgeStore(settings.data_dir, settings.max_reports, settings.station_reports)
        keys = KeyFolder(settings.data_dir / KEYS)
        shared = (self.client, self.worker, self.metrics)
        self.intake = Intake(settings, self.store, keys, *shared, self.work.set)
        self.sender = Sender(settings, self.store, *shared, self.work)

    def apps(self) -> "tuple[ASGIApp, Starlette]":
        """What stations reach, and what operates the process."""
        settings = self.settings
        health = Health({"store": self._probe}, self.supervised, self.sender.warnings)
        bodies = BodyLimits(
            settings.max_body_bytes, settings.max_bodies_bytes, settings.body_timeout_s
        )
        api = settings.api_url.get_secret_value().rstrip("/") if settings.api_url else ""
        ops = Ops(health, self.metrics.exposition)
        endpoints = Endpoints(self.intake, bodies, ops, api)
        public = build_app(endpoints, metrics=settings.ops_port is None)
        shown = traced(public, self.metrics.traces, "bridge", without_token)
        return shown, build_ops_app(endpoints)

    def count(self, error: ProtocolError) -> None:
        """What the server refuses before it knows of which format it is."""
        self.metrics.refused.labels("none", error.name).inc()

    async def _probe(self) -> None:
        await self.worker.run(self.store.depth)

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        poller = Poller(self.settings, self.store, self.intake, self.worker, self.metrics)
        loops = [
            self._loop("gateway", self.sender.send_forever),
            self._loop("polls", poller.poll_forever),
        ]
        if self.aprs is not None:
            loops.append(self._loop("aprs", AprsServer(self.intake, self.aprs).serve_forever))
        if self.settings.mqtt_url is not None:
            uplinks = Uplinks(self.settings, self.intake, Reporter(self.supervised, MQTT))
            loops.append(self._loop(MQTT, uplinks.session))
        return loops

    def _loop(self, name: str, session: Callable[[], Awaitable[None]]) -> Coroutine[Any, Any, None]:
        restarted = self.metrics.sessions_restarted.labels(name).inc
        return sessions(name, session, restarted, self.supervised)

    async def close(self) -> None:
        await self.client.close()
        # In the thread that uses it: a step under way ends first.
        await self.worker.run(self.store.close)
        self.worker.close()
        await self.metrics.traces.close()


async def run(settings: Settings, deployment: Deployment) -> None:
    """Runs the bridge until a signal. Raises what stopped it otherwise."""
    with (
        only_one(settings),
        bind(PREFIX, settings.http_host, settings.http_port) as listener,
        ops_listener(PREFIX, settings.http_host, settings.ops_port) as ops,
        aprs_listener(settings) as aprs,
    ):
        bridge = Bridge(settings, deployment, aprs)
        try:
            public, for_ops = bridge.apps()
            limits = (settings.max_connections, settings.keep_alive_s)
            server = http_server(public, *limits, refused=bridge.count)
            async with also_served(for_ops, ops):
                await _serve(server, listener, bridge)
        finally:
            await bridge.close()
    log.info("stopped")


async def _serve(server: HttpServer, listener: socket.socket, bridge: Bridge) -> None:
    async with asyncio.TaskGroup() as group, ended_in(group, bridge.loops()) as loops:
        serving = group.create_task(server.serve(sockets=[listener]))
        await server.until_started()
        log.info("serving", port=listener.getsockname()[1])
        await until_stopped(server, serving, loops)
