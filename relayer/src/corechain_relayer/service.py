"""Wires the roles together and runs them in one task group."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import structlog
from starlette.routing import Route

from corechain.deployment import Deployment
from corechain.protocol.eip712 import Domain, registry_domain
from corechain.protocol.errors import TransportError
from corechain.service.database import check_at_start, migrate, writer
from corechain.service.errors import StoreUnavailable
from corechain.service.health import Probe
from corechain.service.nodes import in_time
from corechain.service.ops import refusals_in, shown_in, times_in
from corechain.service.rpc import Questions
from corechain.service.settings import InvalidSetting
from corechain.service.supervision import Loop, Loops, Reporter, sessions
from corechain.service.tracing import Traces
from corechain.service.workers import Workers
from corechain_relayer.accounts import GUARD, SUBMITTER, WATCHTOWER, required_account
from corechain_relayer.bus.base import Bus
from corechain_relayer.bus.frame import Place
from corechain_relayer.bus.opening import open_bus
from corechain_relayer.bus.watch import BusWatch
from corechain_relayer.errors import BusNotDurable, LanesMismatch
from corechain_relayer.gateway.app import Endpoints
from corechain_relayer.gateway.body import BodyLimits
from corechain_relayer.gateway.role import GATEWAY_THREADS, GatewayRole
from corechain_relayer.guard.alerts import Alerts
from corechain_relayer.journal.batches import lane_queue
from corechain_relayer.journal.positions import PositionJournal
from corechain_relayer.journal.reader import JournalReader
from corechain_relayer.journal.sql import migrations
from corechain_relayer.kept_views import kept_logs
from corechain_relayer.metrics import Metrics
from corechain_relayer.receipts.role import ReceiptParts, receipt_parts
from corechain_relayer.registry.follower import RegistryFollower
from corechain_relayer.registry.view import RegistryView
from corechain_relayer.roles import Role, health_of, takes_reports, traced_name, uses_bus
from corechain_relayer.settings import PREFIX, Settings
from corechain_relayer.submitter.commits import CommitSearch, CommitStore
from corechain_relayer.submitter.grounds import Grounds, solid
from corechain_relayer.submitter.plan import Policy
from corechain_relayer.submitter.upkeep import Upkeep
from corechain_relayer.transactions.rules import watch_sessions
from corechain_relayer.transactions.watch import Limits, TransactionWatch
from corechain_relayer.wiring import (
    check_chain,
    node_of,
    policy_of,
    pool_of,
    rpc_of,
)

if TYPE_CHECKING:
    from corechain.service.database import Database
    from corechain_relayer.aggregator.role import AggregatorThreads
    from corechain_relayer.submitter.held import Entitled
    from corechain_relayer.submitter.settled import Settled
    from corechain_relayer.submitter.signer import Account
    from corechain_relayer.watchtower.service import Watchtower

Policies = Callable[[], Policy]
"""The policy of the moment."""

log = structlog.get_logger(__name__)

START_S = 5.0
"""So long node and bus have at start to show that they are the wrong ones. One that is away refuses
at once; only one that hangs costs the start this long, and a loaded Kafka takes three seconds."""


@dataclass(slots=True)
class Relayer:
    """All roles of one process around shared connections. What only one role needs is imported
    where the role begins: most processes have one."""

    settings: Settings
    deployment: Deployment
    metrics: Metrics = field(default_factory=Metrics)
    supervised: Loops = field(default_factory=Loops)
    rpc: Questions = field(init=False)
    """The node of all roles, or several that must agree."""
    hurried: Questions = field(init=False)
    """The same for who has a deadline."""
    bus: Bus = field(init=False)
    watch: BusWatch = field(init=False)
    pool: "Database" = field(init=False)
    migrated: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the journal is up to date: who needs it waits, the gateway does not."""
    registry: RegistryFollower = field(init=False)
    gateway_workers: Workers = field(init=False)
    alerts: Alerts = field(init=False)
    upkeep: Upkeep = field(init=False)
    receipts: ReceiptParts | None = field(init=False)
    """None without a key for receipts."""
    transactions: TransactionWatch = field(init=False)
    work: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a batch was sealed: the submitter need not wait for its next poll."""
    _threads: "AggregatorThreads | None" = None
    disputes: asyncio.Event = field(default_factory=asyncio.Event)
    """The same for the watchtower's answers."""
    tower: "Watchtower | None" = None

    def __post_init__(self) -> None:
        settings = self.settings
        self.supervised.changed = shown_in(self.metrics.loop_state)
        self.supervised.refused = refusals_in(self.metrics.access_refused)
        self.rpc = rpc_of(settings, self.deployment.chain_id, self.metrics)
        self.hurried = in_time(self.rpc, settings.rpc_few_after_s)
        self.bus = open_bus(settings, self.metrics)
        self.pool = pool_of(settings)
        self.watch = BusWatch(
            self.bus, range(settings.lanes), PositionJournal(self.pool), self.metrics
        )
        self.alerts = Alerts(self.metrics)
        watched = (self.pool, self.rpc, Limits.of(settings), self.metrics)
        self.transactions = TransactionWatch(*watched)
        self.upkeep = Upkeep(settings, self.deployment, self.rpc, self.pool, self.metrics)
        self.gateway_workers = Workers("gateway", GATEWAY_THREADS)
        self.receipts = receipt_parts(settings, self.deployment, self.rpc, self.pool, self.bus)
        self.registry = RegistryFollower(
            self.rpc,
            self.deployment.contracts["DeviceRegistry"],
            RegistryView,
            settings.poll_s,
            settings.log_range_blocks,
            self.metrics,
            settings.confirmations,
            kept_logs(self.pool, self.deployment, "DeviceRegistry", self.rpc),
            chain_id=self.deployment.chain_id,
        )

    @property
    def domain(self) -> Domain:
        return registry_domain(self.deployment.chain_id, self.deployment.address("DeviceRegistry"))

    def frame_place(self, lane: int) -> Place:
        """What frames of a lane are sealed for."""
        registry = self.deployment.address("DeviceRegistry")
        return Place(self.deployment.chain_id, registry, lane)

    def loop(self, name: str, session: Callable[[], Awaitable[None]]) -> Loop:
        """A loop under supervision: it outlives outages, and `/ready` shows its state."""
        restarted = self.metrics.sessions_restarted.labels(name).inc
        return partial(sessions, name, session, restarted, self.supervised)

    def journalled(self, session: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """A session that begins when the journal is up to date."""

        async def run() -> None:
            await self.migrated.wait()
            await session()

        return run

    async def prepare(self, roles: Sequence[Role]) -> None:
        """What has to be right before anything is served, and nothing that may be away for now.

        Raises WrongNode, and InvalidSetting for a bus that acknowledges what it may lose.
        """
        self.settings.make_data_dir()
        await self.pool  # asyncpg's way to open it; connects to nothing yet
        await check_at_start(self.settings.session_url, migrations())
        await self._check_at_start(self._check_node())
        if uses_bus(roles):
            await self._check_at_start(self.bus.inspect())

    async def _check_at_start(self, check: Awaitable[None]) -> None:
        """An answer counts; who does not answer now is asked again by the loops."""
        try:
            async with asyncio.timeout(START_S):
                await check
        except (BusNotDurable, LanesMismatch) as error:
            raise InvalidSetting(f"RELAYER_BUS_URL: {error}") from error
        except (TransportError, TimeoutError) as error:
            log.warning("not there at start", error=str(error) or type(error).__name__)

    async def migrate(self) -> None:
        """Brings the journal up to date. Raises StoreUnavailable."""
        applied = await migrate(self.settings.session_url, migrations())
        log.info("database ready", migrations=applied)
        self.migrated.set()

    async def _ask_tables(self) -> None:
        if not self.migrated.is_set():
            raise StoreUnavailable("the tables of this version are not there yet")

    async def _ask_database(self) -> None:
        await self._ask_tables()
        await JournalReader(self.pool).ping()

    async def _ask_registry(self) -> None:
        self.registry.require()  # until it was read once, nobody is known

    async def _check_node(self) -> None:
        await check_chain(self.rpc, self.deployment.chain_id)

    def account(self, role: str) -> "Account":
        """What a role signs with. Raises InvalidSetting."""
        return required_account(self.settings, role, self.deployment.chain_id, self.metrics)

    def trace(self, roles: Sequence[Role]) -> Traces:
        """From now on spans go where the settings say."""
        told = self.metrics.spans_told
        self.metrics.traces = self.settings.traces(PREFIX, traced_name(roles), told)
        return self.metrics.traces

    async def close(self) -> None:
        self.gateway_workers.close()
        await self.rpc.close()
        await self.bus.close()
        await self.pool.close()
        if self._threads is not None:
            self._threads.close()

    # ------------------------------------------------------------------ gateway

    def endpoints(self, roles: Sequence[Role]) -> Endpoints:
        settings, reader = self.settings, JournalReader(self.pool)
        places = [self.frame_place(lane) for lane in range(settings.lanes)]
        shared = (self.bus, self.watch, self.registry, reader, self.gateway_workers, self.metrics)
        desk = None
        if self.receipts is not None:
            desk = self.receipts.desk(self.registry, self.gateway_workers, self.metrics)
        gateway = GatewayRole(settings, self.domain, places, *shared, desk).gateway()
        probes: dict[str, Probe] = {"bus": self.bus.depth, "registry": self._ask_registry}
        probes["tables"] = self._ask_tables
        others: dict[str, Probe] = {"database": self._ask_database, "node": self.rpc.head}
        timed, told = times_in(self.metrics.probe_seconds), partial(self.warnings, roles)
        health = health_of(roles, probes, others, self.supervised, told, timed)
        return Endpoints(
            gateway,
            reader,
            health,
            self.metrics,
            settings.data_dir,
            BodyLimits(settings.max_body_bytes, settings.max_bodies_bytes, settings.body_timeout_s),
        )

    def warnings(self, roles: Sequence[Role]) -> list[str]:
        told = [*self.watch.notices.values(), *self.alerts.sentences()]
        if self.tower:
            told += [*self.tower.warnings(), *self.tower.follower.warnings()]
        told += self.transactions.warnings()
        # Other roles have the key among their settings, maybe, and never sign.
        if self.receipts and takes_reports(roles):
            told += self.receipts.keeper.warnings()
        told += [*self.registry.warnings(), *self.upkeep.warnings(), *self.hurried.warnings()]
        return list(dict.fromkeys(told))  # what ails the node, each of its followers says

    # --------------------------------------------------------------- aggregator

    @property
    def threads(self) -> "AggregatorThreads":
        from corechain_relayer.aggregator.role import AggregatorThreads

        self._threads = self._threads or AggregatorThreads()
        return self._threads

    async def aggregate(self, place: int | None = None) -> None:
        """One session of the aggregator: of our own lane, or of that at a place."""
        from corechain_relayer.aggregator.role import AggregatorRole

        place = self.settings.place if place is None else place
        lane = self.settings.first_lane + place
        settings = self.settings.model_copy(update={"lane": lane})
        shared = (settings, self.deployment, self.bus, self.watch, self.registry, self.pool)
        mine = (self.commits(lane), self.metrics, self.work, self.threads)
        await AggregatorRole(*shared, *mine, self.frame_place(place)).session()

    def aggregator(self) -> Loop:
        if self.settings.share_lanes:
            from corechain_relayer.aggregator.sharing import SharedLanes

            mine = SharedLanes(self.settings, self.supervised, self.loop, self.aggregate)
            return self.loop("lanes", self.journalled(mine.session))
        return self.loop("aggregator", self.journalled(self.aggregate))

    # ---------------------------------------------------------------- submitter

    async def submit(
        self,
        loop: str,
        queue: str,
        signer: "Account",
        settled: "Settled",
        policy: Policies,
        entitled: "Entitled | None" = None,
        grounds: Grounds = solid,
    ) -> None:
        """One session of a submitter: the only one that signs with this key."""
        from corechain_relayer.submitter.held import always
        from corechain_relayer.submitter.in_time import STILL_S, run_in_time
        from corechain_relayer.submitter.journal import IntentJournal
        from corechain_relayer.submitter.service import Submitter
        from corechain_relayer.watchtower.store import QUEUE

        rpc = self.hurried if queue == QUEUE else self.rpc
        await check_chain(rpc, self.deployment.chain_id)
        async with writer(self.settings.session_url, signer.lock, STILL_S) as connection:
            journal = IntentJournal(connection, queue)
            node, report = node_of(rpc, self.settings), Reporter(self.supervised, loop)
            asks = (entitled or always, report)
            submitter = Submitter(journal, node, signer, settled, policy(), self.metrics, *asks)
            submitter.grounds = grounds
            work = self.disputes if queue == QUEUE else self.work
            await connection.hold(run_in_time(submitter, policy, self.settings.poll_s, work))

    def commits(self, lane: int) -> CommitSearch:
        """What the chain has of a lane."""
        settings, store = self.settings, CommitStore(self.pool, lane)
        node = node_of(self.rpc, settings)
        return CommitSearch(node, self.deployment, store, settings.log_range_blocks)

    def lane_submitter(self) -> Loop:
        from corechain_relayer.journal.rests import RestsStore
        from corechain_relayer.submitter.footing import BatchFooting
        from corechain_relayer.submitter.settled import CommittedBatches, LaneKey

        signer, lane = self.account(SUBMITTER), self.settings.lane
        node = node_of(self.rpc, self.settings)
        key = LaneKey(node, self.deployment, lane, signer.address)
        parts = (lane_queue(lane), signer, CommittedBatches(self.commits(lane)))
        policy = partial(policy_of, self.settings, self.settings.lane_budget_a_day)
        self.transactions.add(lane_queue(lane), signer.address)
        footing = BatchFooting(RestsStore(self.pool), self.registry)
        session = partial(self.submit, "submitter", *parts, policy, key, footing)
        return self.loop("submitter", self.journalled(session))

    def transaction_loops(self) -> list[Loop]:
        """Of all queues that were added before. Raises InvalidSetting."""
        chain_id = self.deployment.chain_id
        found = watch_sessions(self.settings, chain_id, self.transactions, self.metrics).items()
        return [self.loop(name, self.journalled(session)) for name, session in found]

    def lane_upkeep(self) -> list[Loop]:
        sessions = self.upkeep.sessions().items()
        return [self.loop(name, self.journalled(session)) for name, session in sessions]

    # --------------------------------------------------------------- watchtower

    def watchtower(self) -> "tuple[list[Loop], list[Route]]":
        """The watchtower's loops and its routes."""
        from corechain_relayer.watchtower.role import WatchtowerRole
        from corechain_relayer.watchtower.store import QUEUE

        signer = self.account(WATCHTOWER)
        shared = (
            self.settings,
            self.deployment,
            self.hurried,
            self.pool,
            self.metrics,
            self.disputes,
        )
        role = WatchtowerRole(*shared, signer)
        self.tower = tower = role.tower
        self.transactions.add(QUEUE, signer.address, lambda: tower.pace)
        answer = partial(self.submit, "answers", QUEUE, signer, role.settled, role.policy)
        loops = [
            self.loop("watchtower", self.journalled(role.watch)),
            self.loop("answers", self.journalled(answer)),
        ]
        return loops, role.routes()

    # -------------------------------------------------------------------- guard

    def guard(self) -> list[Loop]:
        from corechain_relayer.guard.parts import Parts
        from corechain_relayer.guard.resending import Resender
        from corechain_relayer.guard.role import GuardRole
        from corechain_relayer.guard.store import QUEUE as GUARD_QUEUE
        from corechain_relayer.journal.demanded import DemandedReports

        signer = self.account(GUARD)
        asked = (self.hurried, self.pool, self.registry, self.metrics)
        shared = (self.settings, self.deployment, *asked)
        settings, place = self.settings, self.frame_place(self.settings.place)
        bus = partial(open_bus, settings, self.metrics)
        demanded = DemandedReports(self.pool)
        shown = (self.domain, self.registry, demanded)
        resender = Resender(bus, place, settings.frame_keys, *shown)
        role = GuardRole(Parts(*shared, self.alerts, resender), signer, self.settings)
        # Its deadlines are the guard's own alerts.
        self.transactions.add(GUARD_QUEUE, signer.address)
        loops = role.loops().items()
        return [self.loop(name, self.journalled(session)) for name, session in loops]
