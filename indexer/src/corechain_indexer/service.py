"""Wires mirror and query API together and runs them in one task group."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import httpx
import structlog

from corechain.deployment import Deployment
from corechain.http import async_client
from corechain.service.alerting.sessions import AlertSessions
from corechain.service.bell import Bell, until_woken
from corechain.service.chain_reader import ChainReader
from corechain.service.database import writer
from corechain.service.errors import StoreUnavailable
from corechain.service.files.fetch import FileSources
from corechain.service.health import AllBut, Health, Probe
from corechain.service.ops import times_in
from corechain.service.readers import Readers
from corechain.service.rpc import Questions
from corechain.service.supervision import Loop, Loops, sessions
from corechain_indexer.alert_sessions import alert_sessions
from corechain_indexer.api.app import VERSION, Api
from corechain_indexer.api.completeness import Completeness
from corechain_indexer.api.cors import Cors
from corechain_indexer.api.delivery import Delivery
from corechain_indexer.api.exports import Exports
from corechain_indexer.api.freshness import Freshness
from corechain_indexer.api.gate import Gates
from corechain_indexer.api.handlers import Handlers
from corechain_indexer.api.head import NodeHead
from corechain_indexer.api.history import HistoryReader
from corechain_indexer.api.known import Kept, Mark
from corechain_indexer.api.newest import Newest
from corechain_indexer.api.proofs import ReadingProver
from corechain_indexer.api.regions import RegionReader
from corechain_indexer.api.rewards import RewardClaims
from corechain_indexer.api.statistics import StatisticsReader
from corechain_indexer.api.stream import BatchStream
from corechain_indexer.api.trees import TreeCache
from corechain_indexer.api.validators import Validators
from corechain_indexer.export import CacheSink, Exporter, Sink
from corechain_indexer.following import DATABASE, MIRROR, Follower, Role
from corechain_indexer.judge import Expected
from corechain_indexer.maintenance import WRITER
from corechain_indexer.metrics import Metrics
from corechain_indexer.payee_tower import PayeeTower, payee_tower
from corechain_indexer.relay import EventSessions, stream_key
from corechain_indexer.series_export import SeriesSink
from corechain_indexer.settings import Settings
from corechain_indexer.store.archive import Archive
from corechain_indexer.store.backed import BackedSeries
from corechain_indexer.store.contents import BatchContents
from corechain_indexer.store.epochs import EpochStore
from corechain_indexer.store.events import EventLog
from corechain_indexer.store.files import FileStore
from corechain_indexer.store.latest import Latest, connect_cache
from corechain_indexer.store.opened import influxes_of, ping_of, readers_of, replica_of, routed
from corechain_indexer.store.page_groups import Pages
from corechain_indexer.store.reads import Reads
from corechain_indexer.store.replica import PrimaryFirst, ReplicaReads, one_source
from corechain_indexer.store.series import SegmentSeries, Series
from corechain_indexer.store.series_groups import SeriesGroups
from corechain_indexer.store.shards.databases import Shards
from corechain_indexer.store.shards.keeping import ShardKeeper
from corechain_indexer.upkeep import Upkeep
from corechain_indexer.verifier import Verifier
from corechain_indexer.wiring import (
    admission_of,
    network_of,
    paywall_of,
    series_sinks_of,
)
from corechain_indexer.withdrawals import WithdrawalWatch

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from corechain.service.database import Database

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Indexer:
    """Both roles of one process around shared connections."""

    settings: Settings
    deployment: Deployment
    begun: InitVar[Follower | None] = None
    """The mirror's part where it runs already; else a new one is made."""
    follower: Follower = field(init=False)
    metrics: Metrics = field(init=False)
    work: asyncio.Event = field(init=False)
    verified: Bell = field(init=False)
    supervised: Loops = field(init=False)
    prepared: asyncio.Event = field(init=False)
    rpc: Questions = field(init=False)
    reader: ChainReader = field(init=False)
    pool: "Database" = field(init=False)
    shards: Shards | None = field(init=False)
    readers: Readers = field(init=False)
    primary: "Database" = field(init=False)
    """The primary by `readers`, and the shards."""
    replica: ReplicaReads | None = field(init=False)
    reads: "Database" = field(init=False)
    """What the API reads from: the replica while it is well, else the primary by `readers`."""
    redis: "Redis" = field(init=False)
    archive: Archive = field(init=False)
    latest: Latest = field(init=False)
    series: Series = field(init=False)
    series_sinks: list[SeriesSink] = field(init=False)
    http: httpx.AsyncClient = field(init=False)
    withdrawals: WithdrawalWatch = field(init=False)
    payee_tower: PayeeTower | None = field(init=False)
    completeness: Completeness = field(init=False)

    def __post_init__(self, begun: Follower | None) -> None:
        settings = self.settings
        following = self.follower = begun or Follower(settings, self.deployment)
        self.metrics, self.supervised = following.metrics, following.supervised
        self.work, self.verified = following.work, following.verified
        self.rpc, self.reader = following.rpc, following.reader
        self.pool, self.prepared = following.pool, following.prepared
        self.readers = readers_of(settings)
        for state, count in self.readers.standing().items():
            self.metrics.connections.labels(state).set_function(count)
        # They have the questions of a pool, all that a store of the API asks.
        self.shards = following.shards
        primary = self.primary = routed(cast("Database", self.readers), self.shards)
        self.replica = replica_of(settings, primary, self._bypassed("replica"), self.shards)
        self.reads = cast("Database", self.replica) if self.replica else primary
        self.redis = connect_cache(settings.named_url("redis_url"))
        self.archive = Archive(settings.archive_dir, self._archive_failed)
        # Of the primary: its question is of many requests at once, whoever answers them.
        first = cast("Database", PrimaryFirst(self.replica)) if self.replica else primary
        cached = self._bypassed("cache")
        self.latest = Latest(self.redis, first, cached, chain_id=self.deployment.chain_id)
        self.series = self._series()
        self.http = async_client()
        self.withdrawals = WithdrawalWatch(self.pool, self.rpc, self.metrics)
        rescue = (settings, self.deployment, self.withdrawals, self.metrics)
        self.payee_tower = payee_tower(*rescue)
        self.completeness = Completeness(self.reads, self.deployment.contracts, self._source)

    def _series(self) -> Series:
        copies = influxes_of(self.settings)
        self.series_sinks = series_sinks_of(self.settings, copies, self.metrics, self.archive)
        if not copies or not self.settings.influx_reads:
            return SeriesGroups(self.primary, self.archive, self.replica)
        segments = SegmentSeries(self.reads, self.archive)
        return BackedSeries(copies, segments, self._bypassed("series"))

    @property
    def _source(self) -> Callable[[], str]:
        return self.replica.source_now if self.replica else one_source

    def _bypassed(self, store: str) -> Callable[[str], None]:
        return lambda reason: self.metrics.bypassed.labels(store, reason).inc()

    def _archive_failed(self, what: str) -> None:
        self.metrics.archive_failures.labels(what).inc()

    async def prepare(self) -> None:
        """Brings the database up to this version and opens the pool. Raises StoreUnavailable."""
        await self.follower.prepare()

    async def close(self) -> None:
        await self.http.aclose()
        for sink in self.series_sinks:
            await sink.close()
        await self.latest.close()
        await self.redis.aclose()
        self.archive.close()
        await self.follower.close()
        await self.readers.close()
        if self.replica is not None:
            for one in self.replica.replicas:
                await one.pool.close()

    # -------------------------------------------------------------- what hangs on it

    async def verify(self) -> None:
        """One session of the verifier: the only one. Others would do the same work once more."""
        async with writer(self.settings.session_url, f"{WRITER} verifier") as connection:
            sources = self.sources()
            try:
                verifying = self.verifier(sources).run_forever(self.settings.poll_s)
                await connection.hold(verifying)
            finally:
                await sources.close()

    def sources(self) -> FileSources:
        limits = self.settings.fetch_timeout_s, self.settings.max_file_bytes
        return FileSources(self.settings.data_templates, *limits)

    def verifier(self, sources: FileSources) -> Verifier:
        return Verifier(
            FileStore(self.pool, self.shards),
            sources,
            Expected(self.deployment.chain_id, self.deployment.address("DeviceRegistry")),
            self.settings.retry_after_s,
            self.metrics,
            self.work,
            self.verified,
            self.settings.fetch_at_once,
        )

    def sinks(self) -> list[Sink]:
        """Who learns of what was verified or undone, each in a loop of its own."""
        return [CacheSink(self.redis, self.deployment.chain_id), *self.series_sinks]

    async def export(self, sink: Sink) -> None:
        """One session of a sink's exporter: the only one that emits to it."""
        async with writer(self.settings.session_url, f"{WRITER} {sink.name}") as connection:
            step = Exporter(routed(connection, self.shards), sink).step
            if isinstance(sink, SeriesSink):
                step = partial(sink.patiently, step)
            wake = self.verified.heard_by(sink.name)
            await connection.hold(until_woken(step, wake, self.settings.poll_s))

    def _alerts(self) -> AlertSessions:
        asked = self.pool, self.rpc, self.metrics
        return alert_sessions(self.settings, self.deployment.chain_id, *asked)

    def event_sessions(self) -> EventSessions:
        """Of the log of batch events, and of the stream in Redis that follows from it."""
        settings = self.settings
        return EventSessions(
            settings.session_url,
            self.redis,
            stream_key(self.deployment.chain_id),
            settings.keep_events,
            settings.redis_events,
            settings.poll_s,
            self.verified.heard_by("events"),
        )

    def upkeep(self) -> Upkeep:
        """What the mirror does besides, when nothing waits for it."""
        return Upkeep(
            self.settings,
            self.pool,
            self.archive,
            self.metrics,
            self.deployment.rewards,
            self.verified.heard_by("auditor"),
            is_divided=self.shards is not None,
        )

    # ---------------------------------------------------------------------- api

    def api(
        self, probes: Mapping[str, Probe] | None = None, roles: Sequence[Role] = tuple(Role)
    ) -> Api:
        """With more `probes` than those of every process with such `roles`."""
        settings = self.settings
        trees = TreeCache(self.reads, settings.tree_cache_bytes, self.archive)
        mark = Mark(cast("Database", self.readers), self.replica)
        statistics = StatisticsReader(self.reads, trees)
        handlers = Handlers(
            self.reads,
            NodeHead(self.rpc),
            network_of(settings, self.deployment),
            self.latest,
            self.series,
            trees,
            RewardClaims(EpochStore(self.reads)),
            statistics,
            RegionReader(Reads(self.reads), trees, statistics),
            ReadingProver(self.reads, trees),
            self.deployment.rewards,
            Kept(mark, 1, lambda facts: 0),
            self.completeness.gaps,
            Pages(self.primary, self.archive, self.replica),
            HistoryReader(self.reads, trees),
            self.archive,
        )
        newest = Newest(self.redis, EventLog(self.pool), stream_key(self.deployment.chain_id))
        admission = admission_of(
            settings, self.redis, self.metrics, self.latest.breaker, self.deployment.chain_id
        )
        cors = Cors(settings.cors_allowed)
        most = settings.max_subscribers
        contents = BatchContents(self.pool, self.archive)
        stream = BatchStream(newest, contents, most, self.metrics, cors, admission)
        health = self._health(roles, probes or {})
        freshness = Freshness(self.pool, self.rpc, settings.fresh_wait_s, self.replica)
        paywall = paywall_of(settings, self.deployment, self.pool, self.http)
        return Api(
            handlers,
            admission,
            self._delivery(mark),
            freshness,
            stream,
            health,
            paywall,
            self.metrics,
            self.prepared,
            Gates(settings.max_queries),
            cors,
            self.completeness,
        )

    def _health(self, roles: Sequence[Role], probes: Mapping[str, Probe]) -> Health:
        needed: dict[str, Probe] = {"database": self._ask_database, **probes}
        others: dict[str, Probe] = {"cache": self.latest.ping, "node": self.rpc.head}
        if Role.MIRROR in roles:
            needed, others = others | needed, {}
        # Queries are answered from the database alone: a balancer that took all processes out for
        # the outage of another server would make it one of the API. So of the loops only those
        # count that bring blocks: one that waits for a shard takes no other devices' answers away.
        facts = self.completeness.facts
        loops, timed = self.supervised, times_in(self.metrics.probe_seconds)
        spared = AllBut((DATABASE, MIRROR))
        # Whoever waits for the primary itself is not helped by a replica that answers.
        itself = {"database": ping_of(self.settings)}
        return Health(
            needed,
            loops,
            self.warnings,
            others,
            facts,
            timed=timed,
            spared_loops=spared,
            itself=itself,
        )

    def _delivery(self, mark: Mark) -> Delivery:
        exports = Exports(self.reads, self.metrics)
        validators = Validators(self.reads, mark, VERSION, self._source)
        hit = self.metrics.answers_kept.inc
        kept: Kept[bytes] = Kept(mark, self.settings.answer_cache_bytes, len, hit)
        return Delivery(exports, validators, self.metrics, kept)

    def warnings(self) -> Sequence[str]:
        """For `/ready`."""
        return [
            *self.withdrawals.sentences(),
            *(self.payee_tower.sentences() if self.payee_tower else ()),
            *self.reader.warnings(),
            *(sentence for sink in self.series_sinks for sentence in sink.sentences()),
            *self.archive.sentences(),
            *self.rpc.warnings(),
            *(self.replica.sentences() if self.replica else ()),
            *(self.shards.sentences() if self.shards else ()),
        ]

    async def _ask_database(self) -> None:
        if not self.prepared.is_set():
            raise StoreUnavailable("the tables of this version are not there yet")
        await (Reads(self.pool) if self.replica is None else self.replica).ping()

    def _loop(self, name: str, session: Any) -> Loop:
        restarted = self.metrics.sessions_restarted.labels(name).inc
        return partial(sessions, name, session, restarted, self.supervised)

    def loops(
        self, roles: Sequence[Role], api: Api, *, serves: bool = True, keeps: bool = True
    ) -> list[Loop]:
        """The roles' loops, in order of start. Of the API's, with `serves` those that every process
        which answers needs, with `keeps` those of which one is enough."""

        def loop(name: str, session: Any) -> Loop:
            async def begin() -> None:
                await self.prepared.wait()
                await session()

            return self._loop(name, begin)

        found: list[Loop] = [partial(self.follower.loop, DATABASE)]
        if Role.MIRROR in roles:
            found += [partial(self.follower.loop, MIRROR), loop("verifier", self.verify)]
            exports = {sink.name: partial(self.export, sink) for sink in self.sinks()}
            found += [loop(f"{name} exporter", export) for name, export in exports.items()]
            alone = self.event_sessions().by_name() | self._alerts().by_name()
            alone |= self.upkeep().by_name()
            found += [loop(name, session) for name, session in alone.items()]
            if self.shards is not None:
                # The keeper asks them every few seconds; other processes may have no question.
                self.shards.shown_in(self.metrics.shard_away)
                found.append(loop("shard keeper", ShardKeeper(self.pool, self.shards).keep_forever))
        elif self.shards is not None:
            found.append(loop("shards", self.shards.look_forever))
        if Role.API in roles and serves:
            found += [loop("stream", api.stream.listen)]
            if self.replica is not None:
                # Of others it would be unknown for ever, and that hides what these have.
                self.metrics.replica_lag.set_function(self.replica.lag)
                found += [loop("replica", self.replica.look_forever)]
        if Role.API in roles and keeps and api.paywall is not None:
            found += [loop("paid answers", api.paywall.forget_forever)]
            watch = self.payee_tower or self.withdrawals
            found += [loop("withdrawals", watch.watch_forever)]
        return found
