"""What the mirror needs and nothing else, so that it works while the rest is still imported.

Of the second and more that a start takes, most goes to what answers, verifies and exports. A block
that was missed while the process was away is mirrored before that.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Any

import structlog
from asyncpg import InterfaceError

from corechain.collecting import collect_seldom
from corechain.deployment import Deployment
from corechain.service.bell import Bell
from corechain.service.chain_reader import ChainReader
from corechain.service.database import check_at_start, migrate, writer
from corechain.service.nodes import measured
from corechain.service.ops import refusals_in, shown_in
from corechain.service.rpc import Questions
from corechain.service.supervision import Loops, sessions, stop_all
from corechain.sparing import import_without
from corechain_indexer.api.keys import key_ring
from corechain_indexer.heads import HeadWatch
from corechain_indexer.maintenance import WRITER
from corechain_indexer.metrics import Metrics
from corechain_indexer.mirror import Mirror
from corechain_indexer.settings import PREFIX, Settings
from corechain_indexer.source import check_chain, node_of
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.chain import ChainStore
from corechain_indexer.store.mirrored import check_mirrored_at_start, claim
from corechain_indexer.store.opened import pool_of, routed, shards_of
from corechain_indexer.store.shards.databases import Shards, lay_out
from corechain_indexer.store.shards.starting import check_shards_at_start

if TYPE_CHECKING:
    from corechain.service.database import Database

log = structlog.get_logger(__name__)

DATABASE, MIRROR = "database", "mirror"


class Role(StrEnum):
    """What a process of the indexer does."""

    MIRROR = "mirror"
    API = "api"


@dataclass(slots=True, eq=False)
class Follower:
    """The mirror's part of a process, and what it shares with the others."""

    settings: Settings
    deployment: Deployment
    metrics: Metrics = field(default_factory=Metrics)
    work: asyncio.Event = field(default_factory=asyncio.Event)
    verified: Bell = field(default_factory=Bell)
    supervised: Loops = field(default_factory=Loops)
    prepared: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the database has this version's tables: before it, nothing asks for them."""
    rpc: Questions = field(init=False)
    reader: ChainReader = field(init=False)
    """Outlives the mirror's sessions: it remembers what the node's limits are."""
    shards: Shards | None = field(init=False)
    """None where nothing is divided."""
    pool: "Database" = field(init=False)
    _begun: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.supervised.changed = shown_in(self.metrics.loop_state)
        self.supervised.refused = refusals_in(self.metrics.access_refused)
        self.rpc = node_of(self.settings, self._left_out, self.deployment.chain_id)
        shown = self.metrics
        measured(self.rpc, shown.rpc_in_use, shown.rpc_heads, shown.rpc_lost)
        self.reader = self._reader()
        self.shards = shards_of(self.settings)
        self.pool = routed(pool_of(self.settings), self.shards)

    def _left_out(self, number: int, reason: str) -> None:
        self.metrics.rpc_quarantined.labels(str(number), reason).inc()

    def _reader(self) -> ChainReader:
        contracts, settings = self.deployment.contracts.values(), self.settings
        return ChainReader(
            self.rpc,
            [contract.address for contract in contracts],
            self.deployment.first_block,
            settings.log_range_blocks,
            settings.confirmations,
            lambda reason: self.metrics.answers_incomplete.labels(reason).inc(),
        )

    async def close(self) -> None:
        await stop_all(list(self._begun.values()))
        await self.rpc.close()
        # A process that found itself set up wrongly ends before its pool was opened.
        with suppress(InterfaceError):
            await self.pool.close()
        if self.shards is not None:
            await self.shards.close()

    def trace(self, roles: Sequence[Role]) -> None:
        """From now on spans go where the settings say. Raises InvalidSetting."""
        name = f"corechain-{roles[0]}" if len(roles) == 1 else "corechain-indexer"
        self.metrics.traces = self.settings.traces(PREFIX, name, self.metrics.spans_told)

    # -------------------------------------------------------------------- sessions

    async def prepare(self) -> None:
        """Brings the database up to this version. Raises StoreUnavailable, WrongDatabase."""
        applied = await migrate(self.settings.session_url, MIGRATIONS)
        await self.pool  # asyncpg's way to open it; connects to nothing yet
        registry = self.deployment.address("DeviceRegistry")
        await claim(self.settings.session_url, self.deployment.chain_id, registry)
        await lay_out(self.settings.session_url, self.shards)
        log.info("database ready", migrations=applied)
        self.prepared.set()

    async def mirror(self) -> None:
        """One session of the mirror: the only one that writes this database."""
        await self.prepared.wait()
        settings = self.settings
        await check_chain(self.rpc, self.deployment.chain_id)
        async with writer(settings.session_url, WRITER) as connection:
            store = ChainStore(routed(connection, self.shards))
            await store.begin()
            mirror = Mirror(
                self.reader,
                store,
                self.deployment.chain_id,
                settings.poll_s,
                self.metrics,
                self.work,
                self.verified,
                {found.address: found.block for found in self.deployment.contracts.values()},
                settled=self.verified.heard_by("events"),
            )
            await connection.hold(self._heads(mirror).run_forever(), mirror.run_forever())

    def _heads(self, mirror: Mirror) -> HeadWatch:
        def heard() -> None:
            self.rpc.stir()
            mirror.new_head.set()

        return HeadWatch(self.settings.head_urls, self.settings.quorum, heard)

    # ----------------------------------------------------------------------- loops

    def begin(self) -> None:
        """Starts both loops in the running event loop, before anybody asks for them."""
        for name in (DATABASE, MIRROR):
            self._begun[name] = asyncio.create_task(self._loop(name))

    def loop(self, name: str) -> Coroutine[None, None, None]:
        """The loop, DATABASE or MIRROR; one that was begun goes on, and ends with its caller."""
        begun = self._begun.pop(name, None)
        return self._loop(name) if begun is None else _ended(begun)

    def _loop(self, name: str) -> Coroutine[None, None, None]:
        session = {DATABASE: self.prepare, MIRROR: self.mirror}[name]
        restarted = self.metrics.sessions_restarted.labels(name).inc
        return sessions(name, session, restarted, self.supervised)


async def _ended(task: "asyncio.Task[None]") -> None:
    """Waits for a task, which a cancellation of the waiting cancels too."""
    await task


def imported_rest() -> Any:
    """`corechain_indexer.serving`: all that following the chain does not need."""
    # It would load its metrics, 60 modules, into each worker, too.
    import_without("redis.asyncio", "opentelemetry")
    return import_module("corechain_indexer.serving")


async def run(settings: Settings, deployment: Deployment, roles: Sequence[Role]) -> None:
    """Runs the roles until a signal: the mirror at once, the others when they are imported.

    Raises InvalidSetting for a file of keys that cannot be read, or a wrong database, before
    anything begins; what stopped them otherwise.
    """
    if Role.API in roles and settings.api_keys_file is not None:
        key_ring(settings.api_keys_file)  # refused before the database is touched
    await check_at_start(settings.session_url, MIGRATIONS)
    registry = deployment.address("DeviceRegistry")
    await check_mirrored_at_start(settings.session_url, deployment.chain_id, registry)
    await check_shards_at_start(settings.session_url, settings.shards)
    follower = Follower(settings, deployment)
    follower.trace(roles)
    if Role.MIRROR in roles:
        follower.begin()
    try:
        serving = await asyncio.to_thread(imported_rest)
        collect_seldom()  # once more, now that all is there
        await serving.run(settings, deployment, roles, follower)
    finally:
        await follower.close()
        await follower.metrics.traces.close()
