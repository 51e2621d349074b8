"""Puts the challenger together and runs it behind its port, until a signal."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import structlog
from starlette.applications import Starlette

from corechain.deployment import Deployment
from corechain.service.database import check_at_start, migrate
from corechain.service.health import Health
from corechain.service.http_server import bind, http_server, until_stopped
from corechain.service.ops import Ops, shown_in
from corechain.service.rpc import Rpc
from corechain.service.supervision import Loop, Loops, sessions
from corechain_relayer.challenger.alerts import ChallengerAlerts
from corechain_relayer.challenger.role import ChallengerRole
from corechain_relayer.challenger.settings import ChallengerSettings
from corechain_relayer.journal.reader import JournalReader
from corechain_relayer.journal.sql import migrations
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.follower import RegistryFollower
from corechain_relayer.registry.view import RegistryView
from corechain_relayer.settings import PREFIX
from corechain_relayer.submitter.signer import Signer
from corechain_relayer.wiring import check_chain, pool_of, required_key

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
    rpc: Rpc = field(init=False)
    private: Rpc | None = field(init=False)
    pool: "Database" = field(init=False)
    registry: RegistryFollower = field(init=False)
    alerts: ChallengerAlerts = field(init=False)

    def __post_init__(self) -> None:
        settings, deployment = self.settings, self.deployment
        self.supervised.changed = shown_in(self.metrics.loop_state)
        self.rpc = Rpc(settings.rpc_url.get_secret_value(), settings.rpc_timeout_s)
        private = settings.challenger_rpc_url
        self.private = (
            Rpc(private.get_secret_value(), settings.rpc_timeout_s) if private is not None else None
        )
        self.pool, self.alerts = pool_of(settings), ChallengerAlerts(self.metrics)
        self.registry = RegistryFollower(
            self.rpc,
            deployment.contracts["DeviceRegistry"],
            RegistryView,
            settings.poll_s,
            settings.log_range_blocks,
            self.metrics,
            settings.confirmations,
            chain_id=deployment.chain_id,
        )

    async def prepare(self) -> None:
        """What has to be right before anything runs. Raises WrongDatabase, InvalidSetting."""
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
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

    def loops(self) -> list[Loop]:
        """Raises InvalidSetting."""
        secret = required_key(self.settings.challenger_key, f"{PREFIX}CHALLENGER_KEY")
        signer = Signer.of(secret, self.deployment.chain_id)
        parts = (self.settings, self.deployment, self.rpc, self.private, self.pool)
        role = ChallengerRole(*parts, self.registry, self.metrics, self.alerts, signer)
        found = [self.loop("journal", self.migrate)]
        found.append(self.loop("registry", self.registry.follow_forever))
        for name, session in role.loops().items():
            found.append(self.loop(name, self._after_migration(session)))
        return found

    def app(self) -> Starlette:
        """What operates the process: there is nothing else to ask it."""
        probes = {"database": self._ask_database, "node": self._ask_node}
        health = Health(probes, self.supervised, self._warnings)
        return Starlette(routes=Ops(health, self.metrics.exposition).routes())

    async def _ask_database(self) -> None:
        await JournalReader(self.pool).ping()

    async def _ask_node(self) -> None:
        await check_chain(self.rpc, self.deployment.chain_id)

    def _warnings(self) -> list[str]:
        return [*self.alerts.sentences(), *self.registry.warnings()]

    async def close(self) -> None:
        await self.rpc.close()
        if self.private is not None:
            await self.private.close()
        await self.pool.close()


async def run(settings: ChallengerSettings, deployment: Deployment) -> None:
    """Runs the challenger until a signal. Raises what stopped it otherwise."""
    process = ChallengerProcess(settings, deployment)
    with bind(PREFIX, settings.http_host, settings.http_port) as listener:
        try:
            await process.prepare()
            server = http_server(process.app(), settings.max_connections, settings.keep_alive_s)
            async with asyncio.TaskGroup() as group:
                loops = [group.create_task(loop()) for loop in process.loops()]
                serving = group.create_task(server.serve(sockets=[listener]))
                await server.until_started()
                log.info("serving", port=listener.getsockname()[1], roles=["challenger"])
                await until_stopped(server, serving, loops)
        finally:
            await process.close()
    log.info("stopped")
