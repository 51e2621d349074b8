"""What proven answers cost an indexer: CPU of its own process and of Postgres, beside a floor.

python bench/proof_queries.py            BATCHES=620 OWNERS=50000 DEVICES=50000

A Postgres of its own; a lane of batches of 16,384 readings, written by the store's own writer. The
questions are asked of the parts behind the HTTP layer, the answer is encoded as the API does.
"""

import asyncio
import hashlib
import json
import os
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import process_time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import psutil

from corechain.devnet.postgres import PostgresServer
from corechain.devnet.settings import Ports
from corechain.protocol import native
from corechain.protocol.hashing import ZERO26
from corechain.protocol.levels import OpenedTrees, UpperLevels
from corechain.protocol.regions import keys_of, spans_of
from corechain.protocol.reward_levels import RewardLevels
from corechain.protocol.rewards import Owner, RewardTree
from corechain.protocol.sealing import LEAF_ROWS
from corechain.protocol.vocabulary import metric
from corechain.service.command import collect_seldom, new_event_loop
from corechain.service.database import create_pool, migrate
from corechain_indexer.api.regions import Region, RegionReader
from corechain_indexer.api.rewards import RewardClaims
from corechain_indexer.api.statistics import Question, StatisticsReader
from corechain_indexer.api.trees import TreeCache
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.epochs import EpochStore
from corechain_indexer.store.files import BatchRows, FileStore, OpenBatch
from corechain_indexer.store.levels import LevelStore
from corechain_indexer.store.reads import Reads
from corechain_indexer.store.segments import Segments

if TYPE_CHECKING:
    from corechain.service.database import Database

RESULTS = Path(__file__).parent / "results" / "proof_queries.jsonl"
LEAVES, HELD, ROUNDS = 16_384, 30, 5
BATCHES, OWNERS, DEVICES = (
    int(os.environ.get(name, default))
    for name, default in (("BATCHES", "620"), ("OWNERS", "50000"), ("DEVICES", "50000"))
)
PARENT = 0x862A1072FFFFFFF
CELL, START, STEP_S = 0x872A1072BFFFFFF, 1_359_676_800, 4_200
ALWAYS, SOMETIMES, NEVER = (hashlib.sha256(name).digest()[:20] for name in (b"a", b"b", b"c"))


def leaves_of(number: int) -> bytes:
    """A batch's leaves: two readings a device, sorted by device and time."""
    count = LEAVES // 2
    ids = np.random.default_rng(number).integers(0, 256, (count, 20), dtype=np.uint8)
    ids[0] = np.frombuffer(ALWAYS, np.uint8)
    if number % (BATCHES // HELD) == 0:
        ids[1] = np.frombuffer(SOMETIMES, np.uint8)
    ids = np.array(sorted(ids.tobytes()[at : at + 20] for at in range(0, 20 * count, 20)))
    rows = np.zeros(LEAVES, LEAF_ROWS)
    rows["metric"], rows["cell"], rows["flag"] = 1, CELL, 1
    rows["device"] = np.frombuffer(np.repeat(ids, 2).tobytes(), np.uint8).reshape(-1, 20)
    rows["low"] = START + number * STEP_S + np.tile([0, 60], count)
    rows["value"] = np.random.default_rng(number).integers(-500, 4_000, LEAVES)
    return rows.tobytes()


@dataclass(frozen=True, slots=True)
class _Header:
    """What the writer takes of a header."""

    batch_id: int
    previous: bytes
    ancestor: bytes
    statistics_root: bytes
    reports_root: bytes
    data_hash: bytes
    rules_hash: bytes
    reading_count: int
    report_count: int
    window_start: int
    window_end: int


@dataclass(frozen=True, slots=True)
class _Sealed:
    header: _Header
    readings_root: bytes
    leaves: bytes


async def fill(pool: "Database") -> None:
    store = FileStore(pool)
    for number in range(1, BATCHES + 1):
        place = (number, bytes(26), bytes(32))
        await pool.execute("insert into batch values ($1, 0, $1, $2, $3, $3)", *place)
        leaves = leaves_of(number)
        upper = UpperLevels.of(leaves)
        trees, first = OpenedTrees(upper, {}), START + number * STEP_S
        header = _Header(
            number, ZERO26, ZERO26, trees.statistics.root, ZERO26, bytes(32), bytes(32),
            LEAVES, LEAVES, first, first + 60,
        )  # fmt: skip
        kept = BatchRows(Segments.of(number, leaves), [], upper.packed)
        sealed: Any = _Sealed(header, trees.readings.root, leaves)
        assert await store.verified(OpenBatch(*place, 0), sealed, kept)
    await pool.execute("vacuum analyze")


async def fill_rewards(pool: "Database") -> bytes:
    """An epoch of many owners; its last owner."""
    owners = (Owner(hashlib.sha256(b"%d" % n).digest()[:20]) for n in range(OWNERS))
    amounts = {owner: 10**18 + n for n, owner in enumerate(owners)}
    tree = RewardTree(amounts)
    levels = RewardLevels.of(tree)
    event = "insert into root_event values (1, 0, 'proposed', 1, $1, 1, 1, 0)"
    await pool.execute(event, tree.root)
    kept = (levels.owners, levels.packed)
    await pool.execute("insert into reward_epoch values (1, 0, 1, 'verified', $1, $2)", *kept)
    rows = [(1, 0, at, owner, amounts[owner]) for at, owner in enumerate(sorted(amounts))]
    await pool.copy_records_to_table("reward_leaf", records=rows)
    return max(amounts)


async def fill_devices(pool: "Database") -> None:
    await pool.execute(
        "insert into device_event (block_number, log_index, kind, device, owner, key_type)"
        " select n, 0, 'registered', substr(sha256(n::text::bytea), 1, 20), $2, 0"
        " from generate_series(1, $1::int) n where n % 2 = 0",
        DEVICES, bytes(20),
    )  # fmt: skip
    await pool.execute(
        "insert into fleet_device (block_number, log_index, position, fleet, device, owner,"
        " key_type) select n, 1, 0, substr(sha256(n::text::bytea), 1, 26),"
        " substr(sha256(n::text::bytea), 1, 20), $2, 0 from generate_series(1, $1::int) n"
        " where n % 2 = 1",
        DEVICES, bytes(20),
    )  # fmt: skip
    await pool.execute("vacuum analyze device_event, fleet_device")


@dataclass
class Meter:
    """CPU milliseconds of this process and of Postgres: medians of a few rounds."""

    server: PostgresServer

    def _postgres_s(self) -> float:
        spent = 0.0
        for process in psutil.Process(self.server.pid).children():
            times = process.cpu_times()
            spent += times.user + times.system
        return spent

    async def of(
        self, ask: Callable[[], Awaitable[object]], times: int = 1, rounds: int = ROUNDS
    ) -> dict[str, float]:
        ours, before = [], self._postgres_s()
        for _ in range(rounds):
            started = process_time()
            for _ in range(times):
                await ask()
            ours.append((process_time() - started) / times)
        # Its clock ticks a hundred times a second: only the sum of all rounds says something.
        theirs = (self._postgres_s() - before) / rounds / times
        return {"ours_ms": round(1e3 * median(ours), 3), "postgres_ms": round(1e3 * theirs, 3)}


async def statistics(pool: "Database", meter: Meter) -> dict[str, Any]:
    encoder, kept = msgspec.json.Encoder(), TreeCache(pool, 1 << 28)

    def asker(device: bytes, fresh: bool) -> Callable[[], Awaitable[int]]:
        async def ask() -> int:
            trees = TreeCache(pool, 1 << 28) if fresh else kept
            question = Question(metric(1), device, CELL, START, START + 40 * 86_400)
            body = encoder.encode(await StatisticsReader(pool, trees).answer(question))
            return len(body)

        return ask

    async def region() -> int:
        ranges = [keys_of(1, span) for span in spans_of([PARENT], 7)]
        asked = Region(ranges, START, START + 40 * 86_400)
        reader = RegionReader(Reads(pool), kept, StatisticsReader(pool, kept))
        return len(encoder.encode(await reader.answer(asked)))

    found: dict[str, Any] = {"bytes": await asker(ALWAYS, False)()}
    found["cold_held_in_all"] = await meter.of(asker(ALWAYS, True))
    found["held_in_all"] = await meter.of(asker(ALWAYS, False))
    found[f"held_in_{HELD}"] = await meter.of(asker(SOMETIMES, False))
    found["region_of_all_cells"] = await meter.of(region)
    batches = list(range(1, BATCHES + 1))
    blocks = [0] * BATCHES
    found["floor_blocks_read"] = await meter.of(
        lambda: LevelStore(pool).leaf_blocks(batches, blocks)
    )
    return found


async def rewards(pool: "Database", meter: Meter, owner: Any) -> dict[str, Any]:
    store = EpochStore(pool)
    warm = RewardClaims(store)

    async def ask(claims: RewardClaims) -> None:
        epoch: Any = await store.claimable(1)
        await claims.of(epoch, owner)
        await store.claimed(owner)

    floor = "select * from reward_leaf where owner = $1"
    return {
        "floor": await meter.of(lambda: pool.fetch(floor, owner), times=100),
        "first": await meter.of(lambda: ask(RewardClaims(store)), times=100),
        "warm": await meter.of(lambda: ask(warm), times=100),
    }


async def devices(pool: "Database", meter: Meter) -> dict[str, Any]:
    floor = "select * from device_event where device > $1 order by device limit $2"
    return {
        "page_of_100": await meter.of(lambda: Reads(pool).devices(b"\x80", 101), times=100),
        "floor": await meter.of(lambda: pool.fetch(floor, b"\x80", 101), times=100),
    }


async def measured(server: PostgresServer) -> dict[str, Any]:
    url = server.create_database("bench")
    await migrate(url, MIGRATIONS)
    async with create_pool(url) as pool:
        meter = Meter(server)
        await fill_devices(pool)
        found = {"devices": await devices(pool, meter)}
        owner = await fill_rewards(pool)
        await pool.execute("vacuum analyze")
        found["rewards"] = await rewards(pool, meter, owner)
        await fill(pool)
        return found | {"statistics": await statistics(pool, meter)}


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="corechain-bench-") as home,
        PostgresServer(Path(home), Ports.free().postgres) as server,
    ):
        # As a service runs: its event loop, and its search for cyclic garbage.
        collect_seldom()
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            found = runner.run(measured(server))
    settings = {"batches": BATCHES, "leaves": LEAVES, "owners": OWNERS, "devices": DEVICES}
    line = json.dumps(settings | {"native": native.library is not None} | found)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as kept:
        kept.write(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
