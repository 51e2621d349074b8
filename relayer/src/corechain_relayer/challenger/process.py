"""Puts the challenger together and runs it behind its port, until a signal."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import structlog
from starlette.applications import Starlette

from corechain.deployment import Deployment
from corechain.service.database import check_at_start, migrate
from corechain.service.health import Health
from corechain.service.http_server import (
    HttpServer,
    also_served,
    bind,
    http_server,
    ops_listener,
    until_stopped,
)
from corechain.service.nodes import in_time
from corechain.service.ops import Ops, refusals_in, shown_in
from corechain.service.rpc import Questions, Rpc
from corechain.service.supervision import Loop, Loops, ended_in, sessions
from corechain_relayer.accounts import CHALLENGER, GUARDIAN, account_of, required_account
from corechain_relayer.chain_settings import on_chain
from corechain_relayer.challenger.alerts import ChallengerAlerts
from corechain_relayer.challenger.app import application
from corechain_relayer.challenger.role import ChallengerRole
from corechain_relayer.challenger.settings import ChallengerSettings
from corechain_relayer.challenger.store import QUEUE as CHALLENGES
from corechain_relayer.challenger.store import VETOES
from corechain_relayer.journal.reader import JournalReader
from corechain_relayer.journal.sql import migrations
from corechain_relayer.kept_views import kept_logs
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.follower import RegistryFollower
from corechain_relayer.registry.view import RegistryView
from corechain_relayer.settings import PREFIX
from corechain_relayer.transactions.http import admin_routes
from corechain_relayer.transactions.rules import watch_sessions
from corechain_relayer.transactions.view import View
from corechain_relayer.transactions.watch import Limits, TransactionWatch
from corechain_relayer.wiring import check_chain, pool_of, rpc_of

if TYPE_CHECKING:
    from corechain.service.database import Database

log = structlog.get_logger(__name__)

Session = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class ChallengerProcess:
    """All parts of one process."""

    settings: ChallengerSettings
    deployment: Deployment
    metrics: Metrics = field(default_factory=Metrics)
    supervised: Loops = field(default_factory=Loops)
    migrated: asyncio.Event = field(default_factory=asyncio.Event)
    rpc: Questions = field(init=False)
    hurried: Questions = field(init=False)
    """The same for who has a deadline; vetoes wait for enough nodes, they stop what is right."""
    private: Rpc | None = field(init=False)
    pool: "Database" = field(init=False)
    registry: RegistryFollower = field(init=False)
    alerts: ChallengerAlerts = field(init=False)
    transactions: TransactionWatch = field(init=False)

    def __post_init__(self) -> None:
        settings, deployment = self.settings, self.deployment
        self.supervised.changed = shown_in(self.metrics.loop_state)
        self.supervised.refused = refusals_in(self.metrics.access_refused)
        self.rpc = rpc_of(settings, deployment.chain_id, self.metrics)
        self.hurried = in_time(self.rpc, settings.rpc_few_after_s)
        self.private = None
        if settings.challenger_rpc_url is not None:
            self.private = Rpc(settings.named_url("challenger_rpc_url"), settings.rpc_timeout_s)
        self.pool, self.alerts = pool_of(settings), ChallengerAlerts(self.metrics)
        watched = (self.pool, self.rpc, Limits.of(settings), self.metrics)
        self.transactions = TransactionWatch(*watched)
        self.registry = RegistryFollower(
            self.hurried,
            deployment.contracts["DeviceRegistry"],
            RegistryView,
            settings.poll_s,
            settings.log_range_blocks,
            self.metrics,
            settings.confirmations,
            kept_logs(self.pool, deployment, "DeviceRegistry", self.hurried),
            chain_id=deployment.chain_id,
        )

    async def prepare(self) -> None:
        """What has to be right before anything runs. Raises WrongDatabase, InvalidSetting."""
        self.settings.make_data_dir()
        await self.pool  # asyncpg's way to open it; connects to nothing yet
        await check_at_start(self.settings.session_url, migrations())

    async def migrate(self) -> None:
        """Brings the journal up to date. Raises StoreUnavailable."""
        await migrate(self.settings.session_url, migrations())
        self.migrated.set()

    def _after_migration(
        self, session: Callable[[], Awaitable[None]]
    ) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            await self.migrated.wait()
            await session()

        return run

    def loop(self, name: str, session: Session) -> Loop:
        restarted = self.metrics.sessions_restarted.labels(name).inc
        return partial(sessions, name, session, restarted, self.supervised)

    def role(self) -> ChallengerRole:
        """Raises InvalidSetting."""
        of_chain = self.deployment.chain_id, self.metrics
        signer = required_account(self.settings, CHALLENGER, *of_chain)
        guardian = account_of(self.settings, GUARDIAN, *of_chain)
        asked = (self.rpc, self.hurried, self.private)
        parts = (self.settings, self.deployment, *asked, self.pool)
        return ChallengerRole(*parts, self.registry, self.metrics, self.alerts, signer, guardian)

    def loops(self) -> list[Loop]:
        """Raises InvalidSetting."""
        role = self.role()
        found = [self.loop("journal", self.migrate)]
        found.append(self.loop("registry", self.registry.follow_forever))
        for name, session in {**role.loops(), **self._transaction_sessions(role)}.items():
            found.append(self.loop(name, self._after_migration(session)))
        return found

    def _transaction_sessions(self, role: ChallengerRole) -> dict[str, Session]:
        """What looks after the queues of our keys."""
        # The nearest end of a window is the metric challenger_deadline; frauds are alerts at once.
        self.transactions.add(CHALLENGES, role.signer.address)
        if role.guardian is not None:
            self.transactions.add(VETOES, role.guardian.address)
        return watch_sessions(
            self.settings, self.deployment.chain_id, self.transactions, self.metrics
        )

    def apps(self) -> tuple[Starlette, Starlette]:
        """What answers at the port, and at that of operations: there is nothing else to ask it.

        Raises InvalidSetting.
        """
        probes = {"database": self._ask_database, "node": self._ask_node}
        health = Health(probes, self.supervised, self._warnings)
        ops, is_alone = Ops(health, self.metrics.exposition), self.settings.ops_port is None
        admin = admin_routes(self.settings, View.of(self.pool, self.rpc), self.metrics)
        public = application(ops.routes(metrics=is_alone), self.metrics)
        return public, application([*ops.routes(), *admin], self.metrics)

    async def _ask_database(self) -> None:
        await JournalReader(self.pool).ping()

    async def _ask_node(self) -> None:
        await check_chain(self.rpc, self.deployment.chain_id)

    def _warnings(self) -> list[str]:
        told = [*self.alerts.sentences(), *self.transactions.warnings()]
        return [*told, *self.registry.warnings(), *self.hurried.warnings()]

    async def close(self) -> None:
        await self.rpc.close()
        if self.private is not None:
            await self.private.close()
        await self.pool.close()


async def run(settings: ChallengerSettings, deployment: Deployment) -> None:
    """Runs the challenger until a signal. Raises what stopped it otherwise."""
    settings = on_chain(settings, deployment.chain_id)
    process = ChallengerProcess(settings, deployment)
    with (
        bind(PREFIX, settings.http_host, settings.http_port) as listener,
        ops_listener(PREFIX, settings.http_host, settings.ops_port) as ops,
    ):
        try:
            await process.prepare()
            app, for_ops = process.apps()
            server = http_server(app, settings.max_connections, settings.keep_alive_s)
            async with also_served(for_ops, ops):
                await _serve(server, listener, process.loops())
        finally:
            await process.close()
    log.info("stopped")


async def _serve(server: HttpServer, listener: socket.socket, background: Sequence[Loop]) -> None:
    begun = (loop() for loop in background)
    async with asyncio.TaskGroup() as group, ended_in(group, begun) as loops:
        serving = group.create_task(server.serve(sockets=[listener]))
        await server.until_started()
        log.info("serving", port=listener.getsockname()[1], roles=["challenger"])
        await until_stopped(server, serving, loops)
