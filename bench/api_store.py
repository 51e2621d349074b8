"""A filled store for bench/api.py: synthetic batches, written as the mirror and the verifier write.

Kept under .corechain/bench, named after its size: a second run starts at once, after what
migrations came meanwhile.
"""

import asyncio
import json
import shutil
import struct
import threading
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from corechain.deployment import load_deployment
from corechain.devnet.postgres import PostgresServer
from corechain.devnet.servers import AnvilServer, ValkeyServer
from corechain.protocol.batch import Header
from corechain.protocol.columns import rows_of
from corechain.protocol.frame import Columns
from corechain.protocol.hashing import ZERO26, keccak
from corechain.protocol.quality import RULES_HASH
from corechain.protocol.reading import PASS, READING_BYTES
from corechain.protocol.roots import hash_rows, merkle_root, statistics_root
from corechain.protocol.sealing import LEAF_ROWS, SealedBatch
from corechain.protocol.states import StateColumns
from corechain.protocol.vocabulary import METRICS
from corechain.service.database import create_pool, migrate, writer
from corechain.service.known_chain import Final
from corechain.service.reconcile import Ref
from corechain_indexer.export import CacheSink, Exporter
from corechain_indexer.store import MIGRATIONS, SQL
from corechain_indexer.store.chain import ChainStore
from corechain_indexer.store.files import FileStore, OpenBatch, batch_rows
from corechain_indexer.store.latest import connect_cache, key_of

CACHE = Path(__file__).parent.parent / ".corechain" / "bench"
CELL, START, DAY_S = 0x872A1072BFFFFFF, 1_700_006_400, 86_400
SLOTS, KINDS = 20, METRICS[:10]
"""A device sends all its metrics once a slot, and a slot is a day: as many readings of a device as
it takes for a page, and a statistic of a day in one batch."""
BATCH = 16_384
CHAIN_ID, DATABASE = 31_337, "indexer"
BLOCKS = 1_000
"""Blocks of a range: as the mirror appends them."""
BLOCK_S = 2.0
"""As on Base or OP Mainnet."""
LAYOUT = "segments"
"""How readings are kept. Where a later version keeps them in another way, it has another name, and
is filled anew: a migration need not turn millions of rows over at once."""
POSTGRES = {"shared_buffers": "2GB"}
"""Its documentation asks for a quarter of the memory of a machine of its own; the 128 MB that it
has without being asked are a twentieth of this index."""
CACHED = "bench:" + key_of(b"", CHAIN_ID)
"""In Redis, once it holds all newest values under the keys of this version."""
CONTRACTS = ("DeviceRegistry", "DataBatches", "CoreToken", "PaymentChannels", "StateChannels")


@dataclass(frozen=True, slots=True)
class Shape:
    """How much there is. Each lane's devices fit into one batch a slot, as with a lane a device
    belongs to: `corechain.protocol.lanes`."""

    readings: int

    @property
    def devices(self) -> int:
        return max(1, self.readings // (SLOTS * len(KINDS)))

    @property
    def in_lane(self) -> int:
        return BATCH // len(KINDS)

    @property
    def lanes(self) -> int:
        return -(-self.devices // self.in_lane)

    @property
    def batches(self) -> int:
        return self.lanes * SLOTS

    def device(self, number: int) -> bytes:
        return keccak(b"api bench %d" % number)[:20]

    def devices_of(self, lane: int) -> list[bytes]:
        first = lane * self.in_lane
        return [self.device(n) for n in range(first, min(first + self.in_lane, self.devices))]

    @property
    def newest(self) -> int:
        """The time of the last slot, in seconds."""
        return START + (SLOTS - 1) * DAY_S


def _leaves(devices: list[bytes], slot: int, seed: int) -> bytes:
    random = np.random.default_rng(seed)
    count = len(devices) * len(KINDS)
    rows = np.zeros(count, LEAF_ROWS)
    rows["metric"] = np.repeat([kind.code for kind in KINDS], len(devices))
    rows["cell"], rows["flag"], rows["low"] = CELL, PASS, START + slot * DAY_S
    rows["device"] = np.tile(rows_of(b"".join(devices), 20), (len(KINDS), 1))
    rows["value"] = random.integers(-10_000, 10_000, count)
    return bytes(np.sort(rows.view(f"S{READING_BYTES}")).tobytes())


def _sealed(batch_id: int, previous: bytes, leaves: bytes, at: int) -> SealedBatch:
    """Its roots are those of its leaves, so that every proof holds; the reports are left out."""
    rows = rows_of(leaves, READING_BYTES)
    hashes, count = hash_rows(rows), len(leaves) // READING_BYTES
    root, digest = merkle_root(hashes), keccak(leaves)
    header = Header(
        batch_id, previous, ZERO26, statistics_root(rows, hashes), digest[:26], digest, RULES_HASH,
        count, count // len(KINDS), at, at,
    )  # fmt: skip
    nothing = Columns(b"", array("I", [0]), array("I", [0]), b"", *(array(c) for c in "QHQQi"))
    empty = np.zeros(0, np.int64)
    states = StateColumns(b"", empty.astype(np.uint16), empty, empty, empty)
    flags = np.full(count, PASS, np.uint8)
    return SealedBatch(
        header, header.commitment(root), root, b"", nothing, b"", flags, np.zeros(count, np.uint16),
        leaves, states,
    )  # fmt: skip


def _batches(shape: Shape) -> Iterator[tuple[int, SealedBatch]]:
    """(block, batch) in the order of their commits."""
    lanes = [shape.devices_of(lane) for lane in range(shape.lanes)]
    previous, block = [ZERO26] * shape.lanes, 0
    for slot in range(SLOTS):
        for lane, devices in enumerate(lanes):
            block += 1
            batch_id = (lane << 32) + slot + 1
            leaves = _leaves(devices, slot, seed=block)
            batch = _sealed(batch_id, previous[lane], leaves, START + slot * DAY_S)
            previous[lane] = batch.commitment
            yield block, batch


def _hash(block: int) -> bytes:
    return keccak(struct.pack(">Q", block))


def _registered(shape: Shape, number: int) -> tuple[object, ...]:
    return (1, number + 1, "registered", shape.device(number), b"\1" * 20, 0, None, None)


async def _chain(url: str, shape: Shape, some: list[tuple[int, SealedBatch]]) -> None:
    """Blocks with a commit each; all devices are registered in the first one."""
    tables: dict[str, list[tuple[object, ...]]] = {"batch": []}
    for block, batch in some:
        place = (batch.header.batch_id, batch.commitment, _hash(block), _hash(block))
        tables["batch"].append((block, 0, *place))
        if block == 1:
            devices = range(shape.devices)
            tables["device_event"] = [_registered(shape, number) for number in devices]
    blocks = [Ref(block, _hash(block)) for block, _ in some]
    async with writer(url, "bench") as connection:
        await ChainStore(connection).append(tables, blocks, Final(max(0, blocks[0].number - 1)))


async def _fill(url: str, redis_url: str, shape: Shape) -> None:
    await migrate(url, MIGRATIONS)
    pool, batches = await create_pool(url), _batches(shape)
    store, stored = FileStore(pool), 0
    while some := list(islice(batches, BLOCKS // SLOTS)):
        await _chain(url, shape, some)
        for block, batch in some:
            entry = OpenBatch(batch.header.batch_id, batch.commitment, _hash(block), 0)
            rows = await asyncio.to_thread(batch_rows, batch)
            assert await store.verified(entry, batch, rows)
            stored += batch.header.reading_count
        print(f"filling: {stored:,} of {shape.readings:,} readings", flush=True)
    await _fill_cache(url, redis_url)
    await pool.execute("vacuum (analyze)", timeout=3_600)
    await pool.close()


async def _fill_cache(url: str, redis_url: str) -> None:
    """A new generation writes every device once; what was noted of each batch is not needed."""
    redis = connect_cache(redis_url)
    async with writer(url, "bench cache") as connection:
        for sink in ("cache", "series", "stream"):
            await connection.execute(SQL["forget_pending"], sink)
        exporter = Exporter(connection, CacheSink(redis, CHAIN_ID))
        while await exporter.step():
            pass
    await redis.set(CACHED, 1)
    await redis.aclose()


async def _recached(url: str, redis_url: str) -> None:
    """An earlier version has other keys: then no query would find anything in the cache."""
    await migrate(url, MIGRATIONS)
    redis = connect_cache(redis_url)
    if not await redis.exists(CACHED):
        print("filling the cache anew", flush=True)
        await redis.flushall()
        await _fill_cache(url, redis_url)
    await redis.aclose()


@dataclass(frozen=True, slots=True)
class Store:
    """The servers under the API, filled."""

    postgres: PostgresServer
    valkey: ValkeyServer
    anvil: AnvilServer
    manifest: Path
    shape: Shape

    @property
    def database_url(self) -> str:
        return self.postgres.socket_url(DATABASE)

    def restart_cold(self) -> None:
        """Nothing of Postgres is in its memory; what the machine has of its files, stays."""
        self.postgres.stop()
        self.postgres.start()


def _manifest(folder: Path) -> Path:
    """Addresses without contracts: the API alone calls none."""
    entries = {
        name: {"address": "0x" + keccak(name.encode())[:20].hex(), "block": 1} for name in CONTRACTS
    }
    file = folder / "deployment.json"
    file.write_text(json.dumps({"chain_id": CHAIN_ID, "contracts": entries}))
    return file


@contextmanager
def filled_store(readings: int) -> Iterator[Store]:
    """Filled by this run, or by an earlier one of the same size and version."""
    shape = Shape(readings)
    home = CACHE / f"api-{LAYOUT}-{shape.devices}x{SLOTS}x{len(KINDS)}"
    done = home / "filled"
    if not done.exists():
        shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        postgres = PostgresServer(home / "postgres", settings=POSTGRES, has_socket=True)
        stack.enter_context(postgres)
        valkey = stack.enter_context(ValkeyServer(home / "valkey"))
        anvil = stack.enter_context(AnvilServer(home / "anvil", chain_id=CHAIN_ID))
        store = Store(postgres, valkey, anvil, _manifest(home), shape)
        postgres.create_database(DATABASE)
        if done.exists():
            asyncio.run(_recached(store.database_url, valkey.url))
        if not done.exists():
            asyncio.run(_fill(store.database_url, valkey.url, shape))
            done.touch()
        asyncio.run(_prepare(store.database_url, store.manifest))
        yield store


async def _prepare(url: str, manifest: Path) -> None:
    """As a mirror of this version leaves it: an index that cannot say whether it is complete is
    asked by every query."""
    await migrate(url, MIGRATIONS)
    addresses = [found.address for found in load_deployment(manifest).contracts.values()]
    async with writer(url, "bench") as connection:
        await ChainStore(connection).add_sources(addresses, joined=True)


@contextmanager
def growing_chain(store: Store) -> Iterator[None]:
    """A block every BLOCK_S meanwhile, without a batch: what is known changes, and no kept answer
    lives longer."""
    stopping = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_grow(store.database_url, stopping)))
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


async def _grow(url: str, stopping: threading.Event) -> None:
    async with writer(url, "bench") as connection:
        chain = ChainStore(connection)
        while not stopping.is_set():
            tip = await chain.tip()
            assert tip is not None, "the store is filled"
            number = tip.number + 1
            await chain.append({}, [Ref(number, _hash(number))], Final(tip.number))
            await asyncio.sleep(BLOCK_S)
