"""A chain with committed batches, and an indexer whose loops are stepped by hand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from support.processes import PATIENCE_S

from corechain.account import account_from_key
from corechain.chain import Chain
from corechain.deployment import load_deployment
from corechain.devnet.servers import rpc
from corechain.devnet.settings import ADMIN_KEY, PROPOSER_KEY, SUBMITTER_KEY
from corechain.protocol.batch import Batch, Origin, seal
from corechain.protocol.eip712 import activation_digest, registry_domain, report_digest
from corechain.protocol.fleet import Fleet
from corechain.protocol.hashing import ZERO26, keccak
from corechain.protocol.keys import DeviceKey, P256Key, Secp256k1Key
from corechain.protocol.quality import State
from corechain.protocol.reading import Observation, Report, SignedReport
from corechain.service.database import writer
from corechain_indexer.export import Exporter
from corechain_indexer.maintenance import WRITER
from corechain_indexer.mirror import Mirror
from corechain_indexer.relay import EventRelay, stream_key
from corechain_indexer.rewards import RewardAuditor
from corechain_indexer.service import Indexer
from corechain_indexer.settings import Settings
from corechain_indexer.store.chain import ChainStore
from corechain_indexer.store.events import EventLog, EventNumbers
from corechain_indexer.store.opened import routed
from corechain_indexer.verifier import Verifier

NewDatabase = Callable[[], Awaitable[str]]
CELL, HOUR_S, START = 0x872A1072BFFFFFF, 3600, 1_359_676_800
TABLES = (
    "event", "device_event", "fleet_device", "batch", "root_event", "claim_event",
    "payment_channel", "payment_event", "state_channel_event", "segment", "rejection",
    "reward_epoch", "reward_leaf",
)  # fmt: skip


def device_keys(count: int = 2) -> list[DeviceKey]:
    """The last one is a secure element."""
    keys: list[DeviceKey] = [Secp256k1Key(keccak(b"indexer %d" % i)) for i in range(count - 1)]
    return [*keys, P256Key(keccak(b"indexer secure"))]


def more_keys(first: int, count: int) -> list[DeviceKey]:
    return [Secp256k1Key(keccak(b"another %d" % i)) for i in range(first, first + count)]


@dataclass
class World:
    """Devices, batches and their files; what a relayer would do, one call at a time."""

    chain: Chain
    data_dir: Path
    keys: list[DeviceKey] = field(default_factory=device_keys)
    number: int = 0
    previous: bytes = ZERO26
    states: dict[Any, State] = field(default_factory=dict)
    sequence: int = 0
    registered: int = 0

    @property
    def registry(self) -> bytes:
        return self.chain.deployment.address("DeviceRegistry")

    def rpc(self, method: str, *params: Any) -> Any:
        return rpc(self.chain.rpc_url, method, *params)

    def register(self, keys: Sequence[DeviceKey] | None = None) -> None:
        account = account_from_key(ADMIN_KEY)
        owner = bytes.fromhex(account.address[2:])
        domain = registry_domain(self.chain.deployment.chain_id, self.registry)
        for key in self.keys if keys is None else keys:
            signature = key.sign(activation_digest(domain, key.identity.device, owner))
            self.chain.register_device(account, key.identity, owner, signature)

    def register_more(self) -> DeviceKey:
        """A new device. On another branch it may be the same one, in another block."""
        (key,) = more_keys(self.registered, 1)
        self.registered += 1
        self.register([key])
        return key

    def fork_here(self) -> "Fork":
        snapshot = self.rpc("evm_snapshot")
        return Fork(self, snapshot, self.head, replace(self, states=dict(self.states)))

    @property
    def head(self) -> int:
        return int(self.rpc("eth_blockNumber"), 16)

    def enrol(self, fleet: Fleet) -> None:
        admin = account_from_key(ADMIN_KEY)
        self.chain.send(admin, "DeviceRegistry", "setEnroller", admin.address, True)
        self.chain.enrol_fleet(admin, fleet)

    def sealed(self, hours: int = 6, **changes: Any) -> Batch:
        """The next batch: hourly temperature and pressure of every device. Not committed."""
        chain_id = changes.get("chain_id", self.chain.deployment.chain_id)
        number = changes.get("number", self.number + 1)
        origin = Origin(number, self.previous, ZERO26, chain_id, self.registry)
        self.sequence += 1
        domain = registry_domain(chain_id, self.registry)
        keys = changes.get("keys", self.keys)
        cell = changes.get("cell", CELL)
        reports = [self._report(key, i, hours, domain, cell) for i, key in enumerate(keys)]
        known = {key.identity.device: key.identity for key in keys}
        return seal(origin, reports, known, self.states)

    def sealed_at(self, cells: Sequence[int]) -> Batch:
        """The next batch: a temperature an hour of the first device, each at another cell."""
        self.sequence += 1
        chain_id, key = self.chain.deployment.chain_id, self.keys[0]
        origin = Origin(self.number + 1, self.previous, ZERO26, chain_id, self.registry)
        items = [
            Observation(1, cell, START + hour * HOUR_S, 100 + hour)
            for hour, cell in enumerate(cells)
        ]
        report = Report.of(key.identity.device, self.sequence, items)
        digest = report_digest(registry_domain(chain_id, self.registry), report)
        signed = SignedReport(report, key.sign(digest))
        return seal(origin, [signed], {key.identity.device: key.identity}, self.states)

    def _report(
        self, key: DeviceKey, index: int, hours: int, domain: Any, cell: int
    ) -> SignedReport:
        first = START + (self.sequence - 1) * 24 * HOUR_S
        items = []
        for hour in range(hours):
            at = first + hour * HOUR_S
            items.append(Observation(1, cell, at, 100 * index + 10 * self.sequence + hour))
            items.append(Observation(4, cell, at, 101_000 + hour))
        items.append(Observation(5, cell, first, 46_866))  # a hurricane: always rejected
        report = Report.of(key.identity.device, self.sequence, items)
        return SignedReport(report, key.sign(report_digest(domain, report)))

    def publish(self, batch: Batch) -> None:
        (self.data_dir / f"{batch.commitment.hex()}.ccdf").write_bytes(batch.data_file)

    def commit(self, batch: Batch, number: int | None = None, *, publish: bool = True) -> Batch:
        account, target = account_from_key(SUBMITTER_KEY), number or batch.header.batch_id
        self.chain.send(account, "DataBatches", "commit", target, batch.commitment)
        self.number, self.previous = target, batch.commitment
        if publish:
            self.publish(batch)
        return batch

    def add(self, hours: int = 6) -> Batch:
        batch = self.sealed(hours)
        self.states.update(batch.states)
        return self.commit(batch)

    def propose(self, epoch: int, root: bytes, emission: int) -> None:
        head = int(self.rpc("eth_blockNumber"), 16)
        proposer = account_from_key(PROPOSER_KEY)
        self.chain.send(proposer, "CoreToken", "proposeRoot", epoch, root, head, emission)

    def open_state_channel(self, party_b: str, salt: int = 0) -> None:
        """Of 150 base units, 100 of them the opening party's."""
        party_a = account_from_key(ADMIN_KEY)
        channels, token = (
            self.chain.contract(name).address for name in ("StateChannels", "CoreToken")
        )
        self.chain.send(party_a, "CoreToken", "approve", channels, 150)
        terms = (party_a.address, party_b, token, 86_400, 2**40 - 1, salt.to_bytes(5, "big"))
        self.chain.send(party_a, "StateChannels", "open", terms, 100, 50)

    def pass_time(self, seconds: int) -> None:
        self.rpc("evm_increaseTime", seconds)
        self.rpc("evm_mine")


@dataclass(frozen=True)
class Fork:
    """A block to which the chain can be taken back, and what a relayer knew then."""

    world: World
    snapshot: str
    number: int
    kept: World

    def return_to(self) -> None:
        """The blocks after it are gone; its number is the head's."""
        assert self.world.rpc("evm_revert", self.snapshot) is True
        for name in ("number", "previous", "sequence", "registered"):
            setattr(self.world, name, getattr(self.kept, name))
        self.world.states = dict(self.kept.states)


@dataclass
class Exporters:
    """All sinks' exporters, the log of batch events and the auditor, one after the other."""

    exporters: list[Exporter | EventNumbers | EventRelay]
    auditor: RewardAuditor

    async def step(self) -> bool:
        emitted = [await exporter.step() for exporter in self.exporters]
        if not any(emitted):
            await self.auditor.step()
        return any(emitted)


@dataclass
class Driven:
    """An indexer in this process, stepped until nothing is left to do."""

    indexer: Indexer
    mirror: Mirror
    verifier: Verifier
    exporter: Exporters

    async def settle(self) -> None:
        while await self.mirror.step():
            pass
        while await self.verifier.step():
            await asyncio.sleep(0.06)  # the shortest retry of a withheld file
            if not await self._retriable():
                break
        while await self.exporter.step():
            pass

    async def until_verified(self, count: int) -> None:
        """Settles until so many batches are verified: a withheld file is looked for again after a
        pause, and each try that came too early has made it longer."""
        query = "select count(*) from batch_file where state = 'verified'"
        async with asyncio.timeout(PATIENCE_S):
            while await self.indexer.pool.fetchval(query) < count:
                await self.settle()
                await asyncio.sleep(0.02)

    async def until_block(self, number: int) -> None:
        """Mirrors range by range until a block is there."""
        while (tip := await self.mirror.store.tip()) is None or tip.number < number:
            assert await self.mirror.step(), tip

    def restart_mirror(self) -> None:
        """As after a restart: what it knows of the chain is what the tables say."""
        self.mirror.store = ChainStore(self.mirror.store.connection)

    def metric(self, name: str, **labels: str) -> float:
        return self.indexer.metrics.registry.get_sample_value(name, labels) or 0.0

    async def _retriable(self) -> bool:
        return bool(await self.verifier.store.open_batches(1, []))

    async def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything that follows from the chain, for comparison."""
        found = {}
        for table in TABLES:
            rows = await self.indexer.pool.fetch(f"select * from {table}")
            found[table] = sorted((tuple(row.values()) for row in rows), key=repr)
        states = await self.indexer.pool.fetch(
            "select batch_id, state, readings_root from batch_file"
        )
        return found | {"batch_file": sorted((tuple(r.values()) for r in states), key=repr)}

    def api(self) -> httpx.AsyncClient:
        app = self.indexer.api().app(queries=True)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://indexer")


def settings_of(world: World, database: str, redis: str, **changes: Any) -> Settings:
    values: Mapping[str, Any] = {
        "rpc_url": world.chain.rpc_url,
        "deployment": Path("unused.json"),
        "database_url": database,
        "redis_url": redis,
        "data_urls": f"file://{world.data_dir}/{{commitment}}.ccdf",
        "retry_after_s": 0.05,
        "log_range_blocks": 3,
        "fresh_wait_s": 0,
    }
    return Settings(**(dict(values) | changes))


@asynccontextmanager
async def driven(settings: Settings, world: World) -> AsyncIterator[Driven]:
    """The parts of a running indexer, wired as the service wires them."""
    indexer = Indexer(settings, world.chain.deployment)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(indexer.close)
        await indexer.prepare()
        url = settings.session_url
        connection = await stack.enter_async_context(writer(url, WRITER))
        mirror = Mirror(
            indexer.reader, ChainStore(routed(connection, indexer.shards)),
            world.chain.deployment.chain_id, 0.05,
            indexer.metrics, indexer.work, indexer.verified,
            {c.address: c.block for c in indexer.deployment.contracts.values()},
        )  # fmt: skip
        sources = indexer.sources()
        stack.push_async_callback(sources.close)
        verifier = indexer.verifier(sources)
        exporters: list[Exporter | EventNumbers | EventRelay] = []
        for sink in indexer.sinks():
            lock = await stack.enter_async_context(writer(url, f"{WRITER} {sink.name}"))
            exporters.append(Exporter(routed(lock, indexer.shards), sink))
        events = await stack.enter_async_context(writer(url, f"{WRITER} events"))
        exporters.append(EventNumbers(events, settings.keep_events))
        key = stream_key(indexer.deployment.chain_id)
        length = settings.redis_events
        exporters.append(EventRelay(indexer.redis, EventLog(events), key, length))
        schedule = indexer.deployment.rewards
        auditor = RewardAuditor(indexer.pool, indexer.metrics, schedule, indexer.archive)
        exporter = Exporters(exporters, auditor)
        yield Driven(indexer, mirror, verifier, exporter)


def world_of(anvil: str, deployment: Path, data_dir: Path) -> World:
    return World(Chain(anvil, load_deployment(deployment)), data_dir)


def device_of(world: World) -> str:
    return "0x" + world.keys[0].identity.device.hex()


async def get(api: httpx.AsyncClient, path: str, status: int = 200, **params: Any) -> Any:
    response = await api.get(path, params={k.rstrip("_"): v for k, v in params.items()})
    assert response.status_code == status, response.text
    return response.json()
