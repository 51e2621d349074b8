"""What a verified reading costs the index: space, CPU to keep it and to read it, and the rate from
a data file to what can be asked for; beside one recovered signature of the same run.

python bench/segments.py    (BENCH_READINGS= a run length, 240,000)

Real Postgres, real files, the verifier as the service wires it. `measure()` is for bench/index.py.
"""

import asyncio
import json
import logging
import os
import statistics
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil
import structlog
from floor import floor

from corechain import Secp256k1Key
from corechain.devnet.postgres import PostgresServer
from corechain.protocol import native
from corechain.protocol.batch import Origin
from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.frame import columns_of
from corechain.protocol.hashing import ZERO26, keccak
from corechain.protocol.keys import DeviceIdentity, KeyType
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain.protocol.sealing import SealedBatch, seal_columns
from corechain.protocol.states import StateColumns
from corechain.service.database import create_pool, migrate
from corechain.service.files.fetch import FileSources
from corechain_indexer.judge import Expected
from corechain_indexer.metrics import Metrics
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.archive import NO_ARCHIVE, Archive, ArchiveStore
from corechain_indexer.store.files import FileStore, OpenBatch, batch_rows
from corechain_indexer.store.merging import MergeStore
from corechain_indexer.store.packing import PackStore
from corechain_indexer.store.pages import PageOf, readings_page
from corechain_indexer.store.series import SegmentSeries
from corechain_indexer.verifier import Verifier

RESULTS = Path(__file__).parent / "results" / "segments.jsonl"
RUNS = (1, 2, 20, 60, 1_000)
MERGED_RUNS = (1, 2)
A_DAY = 24
"""Readings that a device sends on a day, where that is measured."""
READINGS = int(os.environ.get("BENCH_READINGS") or 240_000)
A_BATCH, FLEET = 16_000, 50_000
FILES = {1: 4, 20: 24}
"""Signed files by observations a report: signing takes as long as all the rest."""
SIGNING_FLEET = 2 * A_BATCH
CELL, START, STEP_S = 0x872A1072BFFFFFF, 1_359_676_800, 60
MAX_TIME = 2**40 - 1
CHAIN_ID, REGISTRY = 31337, bytes(20)
PAGES = 200


@dataclass
class Bench:
    """One Postgres, and what was spent."""

    postgres: PostgresServer
    own: float = 0.0
    server: float = 0.0
    wall: float = 0.0

    def postgres_s(self) -> float:
        """CPU seconds of the server so far, with all that it has ever started."""
        server = psutil.Process(self.postgres.pid)
        processes = [server, *server.children(recursive=True)]
        return float(sum(sum(process.cpu_times()[:4]) for process in processes))

    @contextmanager
    def counted(self) -> Iterator[None]:
        own, server, wall = time.process_time(), self.postgres_s(), time.monotonic()
        yield
        self.own = time.process_time() - own
        self.server = self.postgres_s() - server
        self.wall = time.monotonic() - wall

    def us(self, count: int) -> dict[str, float]:
        """Microseconds of each of so many."""
        return {
            "us": round(1e6 * self.own / count, 2),
            "postgres_us": round(1e6 * self.server / count, 2),
        }


@dataclass
class Fleet:
    """Devices that send runs of observations, in turn; what is sealed of them."""

    observations: int
    signing: bool = False
    devices: int = FLEET
    keys: list[Secp256k1Key] = field(default_factory=list)
    previous: bytes = ZERO26
    sent: int = 0
    weather: Random = field(default_factory=lambda: Random(7))

    @property
    def size(self) -> int:
        return SIGNING_FLEET if self.signing else self.devices

    def batch(self, batch_id: int) -> SealedBatch:
        reports = A_BATCH // self.observations
        packed, ids = [], []
        for _ in range(reports):
            report = self._report()
            ids.append(report.device)
            packed.append(SignedReport(report, self._signature(report)).pack())
        known = {device: DeviceIdentity(device, KeyType.SECP256K1) for device in ids}
        origin = Origin(batch_id, self.previous, ZERO26, CHAIN_ID, REGISTRY)
        batch = seal_columns(origin, columns_of(b"".join(packed)), known, StateColumns.of({}))
        self.previous = batch.commitment
        return batch

    def _report(self) -> Report:
        number, turn = self.sent % self.size, self.sent // self.size
        self.sent += 1
        first = START + STEP_S * self.observations * turn
        if self.observations == max(RUNS):  # a day's worth, whole in a day
            first = START + 86_400 * turn
        # As weather goes: what repeats itself would pack too well.
        value, seen = 1_500, []
        for place in range(self.observations):
            value += self.weather.randrange(-5, 6)
            seen.append(Observation(1, CELL, first + STEP_S * place, value))
        return Report.of(self._device(number), turn, seen)

    def _device(self, number: int) -> DeviceId:
        if not self.signing:
            return DeviceId(keccak(struct.pack(">I", number))[:20])
        while len(self.keys) <= number:
            self.keys.append(Secp256k1Key(keccak(b"segments %d" % len(self.keys))))
        return self.keys[number].identity.device

    def _signature(self, report: Report) -> bytes:
        if not self.signing:
            return bytes(64)
        key = self.keys[(self.sent - 1) % self.size]
        return key.sign(report_digest(registry_domain(CHAIN_ID, REGISTRY), report))


async def _commit(pool: Any, batch: SealedBatch) -> OpenBatch:
    batch_id = batch.header.batch_id
    block_hash = keccak(struct.pack(">Q", batch_id))
    place = batch_id, batch.commitment, block_hash
    await pool.execute("insert into batch values ($1, 0, $1, $2, $3, $3)", *place)
    return OpenBatch(batch_id, batch.commitment, block_hash, 0)


SIZES = """
select pg_total_relation_size('segment') as segments, pg_relation_size('segment') as segment_rows,
       pg_total_relation_size('batch_file') as leaves,
       pg_total_relation_size('packed_leaves') as packed,
       (select sum(abs(count)) from segment) as readings,
       (select count(*) from segment) as runs"""


async def kept(bench: Bench, observations: int) -> dict[str, Any]:
    """Space and CPU of runs of so many readings, and of pages of them."""
    url = bench.postgres.create_database(f"runs_{observations}")
    await migrate(url, MIGRATIONS)
    fleet, spent = Fleet(observations), []
    async with create_pool(url) as pool:
        store = FileStore(pool)
        for batch_id in range(1, READINGS // A_BATCH + 1):
            batch = fleet.batch(batch_id)
            entry = await _commit(pool, batch)
            await pool.execute("checkpoint")
            with bench.counted():
                assert await store.verified(entry, batch, batch_rows(batch))
            spent.append(bench.us(A_BATCH))
        await pool.execute("vacuum (analyze)")
        sizes = dict(await pool.fetchrow(SIZES))
        pages = {
            f"page_of_{limit}": await _pages(bench, pool, fleet, limit) for limit in (100, 1_000)
        }
        packing = await _packed(bench, pool)
        old = {
            f"packed_page_of_{limit}": await _pages(bench, pool, fleet, limit)
            for limit in (100, 1_000)
        }
        old |= await _archived(bench, pool, fleet)
    figures = {name: statistics.median(each[name] for each in spent) for name in spent[0]}
    bytes_ = (sizes["segments"] + sizes["leaves"]) / sizes["readings"]
    a_run = sizes["segments"] / sizes["runs"]
    return {
        "bytes_per_reading": round(bytes_, 1), "bytes_per_segment": round(a_run, 1), **figures,
        **pages, **packing, **old,
    }  # fmt: skip


async def _packed(bench: Bench, pool: Any) -> dict[str, float]:
    """The same readings once they are final and packed."""
    await pool.execute("update chain_mark set final = $1", MAX_TIME)
    with bench.counted():
        while await PackStore(pool).pack_some(0.0):
            pass
    spent = bench.us(READINGS)
    await pool.execute("vacuum (full, analyze) batch_file")
    sizes = dict(await pool.fetchrow(SIZES))
    leaves = sizes["packed"] / sizes["readings"]
    whole = (sizes["segments"] + sizes["leaves"] + sizes["packed"]) / sizes["readings"]
    return {
        "packed_leaves_bytes": round(leaves, 1), "packed_bytes_per_reading": round(whole, 1),
        "pack_us": spent["us"],
    }  # fmt: skip


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*.leaves"))


async def _archived(bench: Bench, pool: Any, fleet: Fleet) -> dict[str, Any]:
    """What stays in Postgres once the same readings are in archive files, and pages of them."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Path(folder))
        await pool.execute("delete from outbox")  # the cache has learned of them
        with bench.counted():
            while await ArchiveStore(pool, archive).move_some(0):
                pass
        spent = bench.us(READINGS)
        await pool.execute("vacuum (full, analyze) batch_file")
        await pool.execute("vacuum (full, analyze) packed_leaves")
        sizes = dict(await pool.fetchrow(SIZES))
        files = _bytes_in(Path(folder))
        pages = await _pages(bench, pool, fleet, 100, archive)
        archive.close()
    kept = sizes["segments"] + sizes["leaves"] + sizes["packed"]
    return {
        "archived_bytes_per_reading": round(kept / sizes["readings"], 1),
        "archive_file_bytes_per_reading": round(files / sizes["readings"], 2),
        "archive_us": spent["us"], "archived_page_of_100": pages,
    }  # fmt: skip


async def _pages(
    bench: Bench, pool: Any, fleet: Fleet, limit: int, archive: Archive = NO_ARCHIVE
) -> dict[str, float]:
    """Of devices of the fleet, one after another. Few have as many readings as are asked for."""
    devices = [fleet._device(number * 7 % min(fleet.sent, fleet.size)) for number in range(PAGES)]
    found = 0
    with bench.counted():
        for device in devices:
            found += len(await readings_page(pool, PageOf(device, 1, 0, MAX_TIME), limit, archive))
    return bench.us(PAGES) | {"readings": found / PAGES}


async def _series(bench: Bench, pool: Any, fleet: Fleet, bucket_s: int) -> dict[str, float]:
    devices = [fleet._device(number * 7 % fleet.size) for number in range(PAGES)]
    series, found = SegmentSeries(pool), 0
    with bench.counted():
        for device in devices:
            found += len(await series.read(device, 1, 0, MAX_TIME, bucket_s, 1_000))
    return bench.us(PAGES) | {"buckets": found / PAGES}


async def _answers(bench: Bench, pool: Any, fleet: Fleet, what: str) -> dict[str, Any]:
    await pool.execute("vacuum (full, analyze) segment")
    await pool.execute("vacuum (full, analyze) batch_file")
    sizes = dict(await pool.fetchrow(SIZES))
    whole = (sizes["segments"] + sizes["leaves"] + sizes["packed"]) / sizes["readings"]
    return {
        f"{what}_bytes_per_reading": round(whole, 1),
        f"{what}_segments_bytes_per_reading": round(sizes["segments"] / sizes["readings"], 1),
        f"{what}_page_of_100": await _pages(bench, pool, fleet, 100),
        f"{what}_series_of_hours": await _series(bench, pool, fleet, 3_600),
        f"{what}_series_of_days": await _series(bench, pool, fleet, 86_400),
    }


async def merged(bench: Bench, observations: int) -> dict[str, Any]:
    """A day of a fleet that sends A_DAY readings, so many at a time; before and after merging."""
    url = bench.postgres.create_database(f"merged_{observations}")
    await migrate(url, MIGRATIONS)
    fleet = Fleet(observations, devices=A_BATCH)
    async with create_pool(url) as pool:
        for batch_id in range(1, A_DAY + 1):
            batch = fleet.batch(batch_id)
            entry = await _commit(pool, batch)
            assert await FileStore(pool).verified(entry, batch, batch_rows(batch))
        await pool.execute("update chain_mark set final = $1", MAX_TIME)
        while await PackStore(pool).pack_some(0.0):
            pass
        figures = await _answers(bench, pool, fleet, "alone")
        with bench.counted():
            while await MergeStore(pool).merge_some(0.0):
                pass
        spent = bench.us(A_DAY * A_BATCH)
        figures |= await _answers(bench, pool, fleet, "merged")
    return figures | {"merge_us": spent["us"], "merge_postgres_us": spent["postgres_us"]}


async def verified(bench: Bench, home: Path, observations: int) -> dict[str, float]:
    """From files to stored readings, by the verifier: those of devices that were met before."""
    url = bench.postgres.create_database(f"verified_{observations}")
    await migrate(url, MIGRATIONS)
    fleet = Fleet(observations, signing=True)
    async with create_pool(url) as pool:
        meeting = SIGNING_FLEET * observations // A_BATCH
        every = range(1, meeting + FILES[observations] + 1)
        batches = [fleet.batch(number) for number in every]
        for batch in batches:
            (home / f"{batch.commitment.hex()}.ccdf").write_bytes(batch.data_file)
        await pool.executemany(
            "insert into device_event (block_number, log_index, kind, device, owner, key_type) "
            "values (0, $1, 'registered', $2, $3, 1)",
            [(n, key.identity.device, bytes(20)) for n, key in enumerate(fleet.keys)],
        )
        await pool.execute("analyze")
        sources = FileSources([f"file://{home}/{{commitment}}.ccdf"], 60.0, 1 << 28)
        verifier = Verifier(
            FileStore(pool), sources, Expected(CHAIN_ID, REGISTRY), 1.0, Metrics(),
            asyncio.Event(), asyncio.Event(),
        )  # fmt: skip
        for some in (batches[:meeting], batches[meeting:]):
            for batch in some:
                await _commit(pool, batch)
            with bench.counted():
                while await verifier.step():
                    pass
        await sources.close()
        stored = await pool.fetchval("select sum(count) from segment")
    assert stored == sum(batch.header.reading_count for batch in batches)
    measured = sum(batch.header.reading_count for batch in batches[meeting:])
    rates = {
        "readings_per_s": round(measured / bench.wall),
        "readings_per_cpu_s": round(measured / bench.own),
    }
    return bench.us(measured) | rates


async def _measured(bench: Bench, home: Path) -> dict[str, Any]:
    figures: dict[str, Any] = {"bench": "segments", "native": native.library is not None}
    for observations in FILES:
        figures[f"verified_{observations}"] = await verified(bench, home, observations)
    for run in MERGED_RUNS:
        figures[f"merged_{run}"] = await merged(bench, run)
    for run in RUNS:
        figures[f"run_{run}"] = await kept(bench, run)
    return figures | floor()


def measure() -> dict[str, Any]:
    """All figures, also written as a line of bench/results/segments.jsonl.

    verified_1, verified_20 (observations a report): us, postgres_us, readings_per_s (wall),
    readings_per_cpu_s (of the verifier's process). run_1 …
    run_1000 (readings a run): bytes_per_reading with all indexes, leaves and tree levels;
    bytes_per_segment; us and postgres_us a reading to keep; page_of_100, page_of_1000: a page;
    packed_leaves_bytes and packed_bytes_per_reading once they are packed, pack_us a reading for it,
    packed_page_of_100 and packed_page_of_1000: a page of those; archived_bytes_per_reading in
    Postgres and archive_file_bytes_per_reading beside it once they are archived, and a page then.
    merged_1 … (readings a run): the same of a day of 24 readings a device, packed, `alone_…` and
    `merged_…`, with series of hours and of days; merge_us, merge_postgres_us a reading.
    recover_us, verify_us: bench/floor.py. bench/index.py takes readings_per_s of `verified_1`, and
    bytes_per_reading of `run_60`.
    """
    quiet = structlog.make_filtering_bound_logger(logging.WARNING)
    structlog.configure(wrapper_class=quiet)
    with tempfile.TemporaryDirectory(prefix="corechain-bench-") as folder:
        home = Path(folder)
        with PostgresServer(home / "postgres") as postgres:
            figures = asyncio.run(_measured(Bench(postgres), home))
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as lines:
        lines.write(json.dumps(figures) + "\n")
    return figures


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
