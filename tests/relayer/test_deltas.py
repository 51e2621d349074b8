"""What batches change for devices: one row a batch, and every reader sees it at once.

given batches that the journal keeps
  when something of their devices is asked
    the answer is the same before a fold, after it, and while it happens
    it is the one of the tables of a device, which older programs wrote
  when they are folded
    each counts once, by however many processes, and nothing of it when the fold is interrupted
  when they come faster than they can be folded
    their writer waits
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from support.processes import PATIENCE_S, stopped

from corechain.devnet.postgres import PostgresServer
from corechain.protocol.batch import Header
from corechain.protocol.frame import Columns, columns_of
from corechain.protocol.hashing import ZERO26, Digest26
from corechain.protocol.quality import State, StateKey
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain.protocol.states import StateColumns
from corechain.service import database
from corechain.service.database import connect, create_pool, migrate
from corechain.service.errors import StoreUnavailable
from corechain_relayer.journal import fold as fold_module
from corechain_relayer.journal import reader as reading
from corechain_relayer.journal.batches import ID_MAX, BatchJournal, KeptBatch
from corechain_relayer.journal.digests import Key
from corechain_relayer.journal.fold import Folder, fold, fold_all
from corechain_relayer.journal.reader import JournalReader
from corechain_relayer.journal.rows import window_columns
from corechain_relayer.journal.sql import migrations, query
from corechain_relayer.journal.unfolded import DeviceReader
from corechain_relayer.sequences import JOURNAL_WIDTH, SequenceWindow, content_digest

if TYPE_CHECKING:
    from corechain.service.database import Conn, Database

# Ids that end with zeros: numpy takes them for the end of a text.
DEVICES = [DeviceId(bytes([n]) * 18 + bytes(2)) for n in (1, 2, 3)]
STRANGER = DeviceId(b"\x09" * 20)
SEED = 7


def report(device: DeviceId, sequence: int) -> SignedReport:
    value = Observation(1, 0, 1000, sequence % 1000)
    return SignedReport(Report.of(device, sequence, [value]), bytes(64))


def a_batch(
    number: int, reports: Sequence[SignedReport], states: Mapping[StateKey, State]
) -> KeptBatch:
    header = Header(number, *[ZERO26] * 4, *[bytes(32)] * 2, 1, len(reports), 0, 1)
    return KeptBatch(header, Digest26(number.to_bytes(26, "big")), 0, *ordered(reports, states))


def ordered(
    reports: Iterable[SignedReport], states: Mapping[StateKey, State]
) -> tuple[Columns, StateColumns]:
    """As a sealed batch has them."""
    by_key = sorted(reports, key=lambda signed: (signed.report.device, signed.report.sequence))
    columns = columns_of(b"".join(signed.pack() for signed in by_key))
    return columns, StateColumns.of(dict(sorted(states.items())))


@dataclass
class Model:
    """What is known of devices, in the plainest form: what every reader must say."""

    windows: dict[DeviceId, SequenceWindow] = field(default_factory=dict)
    digests: dict[Key, bytes] = field(default_factory=dict)
    states: dict[StateKey, State] = field(default_factory=dict)

    def take(self, batch: KeptBatch) -> None:
        for signed in batch.reports.reports():
            device, sequence = signed.report.device, signed.report.sequence
            window = self.windows.get(device, SequenceWindow())
            self.windows[device] = window.with_seen(sequence, JOURNAL_WIDTH)
            self.digests[device, sequence] = content_digest(signed.report)
        self.states.update(batch.states.mapping())


@dataclass
class Walk:
    """Batches as devices make them: sequences rise, gaps are filled later, time goes on."""

    random: random.Random
    at: int = 1_000
    number: int = 0
    free: dict[DeviceId, list[int]] = field(default_factory=dict)

    def batch(self) -> KeptBatch:
        self.number += 1
        reports, states = [], {}
        for device in self.random.sample(DEVICES, self.random.randint(1, len(DEVICES))):
            for sequence in self._sequences(device):
                reports.append(report(device, sequence))
            for metric in self.random.sample((1, 2, 4), self.random.randint(1, 3)):
                self.at += 1
                value = self.random.randint(-(2**31), 2**31 - 1)
                states[device, metric] = State(value, self.at, self.at - 1)
        return a_batch(self.number, reports, states)

    def _sequences(self, device: DeviceId) -> list[int]:
        free = self.free.setdefault(device, [])
        while len(free) < 8:
            start = free[-1] + 1 if free else 0
            free += range(start, start + 12)
        return [free.pop(self.random.randrange(8)) for _ in range(self.random.randint(1, 3))]


@pytest.fixture
async def pool(database: str) -> "AsyncIterator[Database]":
    await migrate(database, migrations())
    async with create_pool(database) as pool:
        yield pool


@pytest.fixture
async def connection(database: str, pool: "Database") -> "AsyncIterator[Conn]":
    connection = await connect(database)
    yield connection
    await connection.close()


async def assert_known(reader: DeviceReader, model: Model) -> None:
    """The reader says what the model says, of each device and of one that was never there."""
    asked = [*DEVICES, STRANGER]
    assert await reader.sequences(asked) == model.windows
    assert await reader.known(asked) == (model.windows, model.states)
    keys = [(device, sequence) for device in asked for sequence in range(60)]
    assert await reader.digests(keys) == model.digests


# ------------------------------------------------------------------ readers


async def test_every_reader_sees_a_batch_at_once_and_a_fold_changes_no_answer(
    pool: "Database", connection: "Conn"
) -> None:
    journal, model, walk = BatchJournal(connection, 0), Model(), Walk(random.Random(SEED))
    old, folds = DeviceReader(pool), random.Random(SEED)
    for _ in range(30):
        batch = walk.batch()
        await journal.keep(batch, None)
        model.take(batch)
        if folds.random() < 0.3:
            # Only some: what the reader holds is then partly in the tables.
            await fold(connection, 0, folds.randint(1, batch.header.batch_id))
        await assert_known(old, model)
        await assert_known(DeviceReader(pool), model)
    await fold_all(connection, 0, ID_MAX)
    assert await connection.fetchval("select count(*) from batch_delta") == 0
    await assert_known(old, model)


async def test_an_answer_misses_nothing_that_is_folded_while_it_is_made(
    pool: "Database", connection: "Conn"
) -> None:
    """between the reader's two questions, or another question's of the same reader"""
    journal, model, walk = BatchJournal(connection, 0), Model(), Walk(random.Random(SEED))

    class Folding:
        """A pool; before the tables are read, all is folded."""

        async def fetch(self, text: str, *fields: Any) -> Any:
            if text == query("unfolded_deltas"):
                return await pool.fetch(text, *fields)
            found = await pool.fetch(text, *fields)
            await fold_all(connection, 0, ID_MAX)
            await reader._refresh()
            return found

    reader = DeviceReader(cast("Database", Folding()))
    for _ in range(4):
        batch = walk.batch()
        model.take(batch)
        await journal.keep(batch, None)
        assert await reader.sequences(DEVICES) == model.windows
        second = walk.batch()
        model.take(second)
        await journal.keep(second, None)
        assert await reader.known(DEVICES) == (model.windows, model.states)


async def test_the_newest_sequence_of_a_device_is_the_one_of_its_last_batch(
    pool: "Database", connection: "Conn"
) -> None:
    reader, journal = JournalReader(pool), BatchJournal(connection, 0)
    assert await reader.newest(DEVICES[0]) is None
    await journal.keep(a_batch(1, [report(DEVICES[0], 2**63 + 5)], {}), None)
    assert await reader.newest(DEVICES[0]) == 2**63 + 5
    await journal.fold()
    assert await reader.newest(DEVICES[0]) == 2**63 + 5


async def test_a_journal_that_hangs_is_left_alone_for_a_while(
    pool: "Database", postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway goes on without it: devices must not wait for the database's own limit, each."""
    now = 0.0
    reader = JournalReader(pool, clock=lambda: now)
    assert await reader.most_lanes() == 0
    monkeypatch.setattr(reading, "READ_LIMIT_S", 0.2)
    monkeypatch.setattr(database, "RELEASE_TIMEOUT_S", 0.1)
    with stopped(postgres_server.pid):
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await reader.sequences(DEVICES)
        monkeypatch.setattr(reading, "READ_LIMIT_S", PATIENCE_S)  # now nobody waits for it at all
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await reader.batch(1)
    now += reading.AWAY_S
    assert await reader.batch(1) is None


async def write_as_older_programs(connection: "Conn", model: Model) -> None:
    """Before migration 0009 a quality state was a row of its own."""
    columns = window_columns(model.windows)
    await connection.executemany(
        "insert into device_sequence (device, newest, seen) values ($1, $2::text::numeric, $3)",
        list(zip(*columns, strict=True)),
    )
    await connection.executemany(
        "insert into quality_state values ($1, $2, $3, $4, $5)",
        [(device, metric, *state) for (device, metric), state in model.states.items()],
    )


@pytest.mark.parametrize("before", ["0006", "0009"])
async def test_a_database_of_an_older_program_goes_on(empty_database: str, before: str) -> None:
    await migrate(empty_database, [item for item in migrations() if item[0] < before])
    connection, walk, model = await connect(empty_database), Walk(random.Random(SEED)), Model()
    batch = walk.batch()
    model.take(batch)
    model.digests.clear()  # what is from before digests were kept has none
    model.states[DEVICES[0], 65_535] = State(-(2**31), 2**40 - 1, 2**39)
    await write_as_older_programs(connection, model)

    await migrate(empty_database, migrations())
    reader, journal = DeviceReader(connection), BatchJournal(connection, 0)
    await assert_known(reader, model)
    batch = walk.batch()
    model.take(batch)
    await journal.keep(batch, None)
    await assert_known(reader, model)
    await journal.fold()
    await assert_known(reader, model)
    await connection.close()


# ------------------------------------------------------------------ folding


async def rows_of_devices(connection: "Conn") -> list[Any]:
    tables = ("device_sequence", "report_digest")
    return [await connection.fetch(f"select * from {table} order by 1, 2") for table in tables]


async def test_many_may_fold_at_a_time_and_each_batch_counts_once(
    database: str, pool: "Database", connection: "Conn"
) -> None:
    journal, model, walk = BatchJournal(connection, 0), Model(), Walk(random.Random(SEED))
    for _ in range(12):
        batch = walk.batch()
        model.take(batch)
        await journal.keep(batch, None)
    others = [await connect(database) for _ in range(3)]
    done = await asyncio.gather(*(fold_all(other, 0, ID_MAX) for other in others))
    assert sum(done) == 12
    await assert_known(DeviceReader(pool), model)
    for other in others:
        await other.close()


async def test_a_fold_that_is_interrupted_has_not_happened(
    database: str, pool: "Database", connection: "Conn", monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, model, walk = BatchJournal(connection, 0), Model(), Walk(random.Random(SEED))
    for _ in range(3):
        batch = walk.batch()
        model.take(batch)
        await journal.keep(batch, None)
    before = await rows_of_devices(connection)
    other, real = await connect(database), fold_module._apply

    async def apply_and_die(*fields: Any) -> None:
        await real(*fields)
        other.terminate()

    monkeypatch.setattr(fold_module, "_apply", apply_and_die)
    with pytest.raises(Exception, match="closed"):
        await fold_all(other, 0, ID_MAX)
    monkeypatch.undo()
    assert await rows_of_devices(connection) == before
    await assert_known(DeviceReader(pool), model)
    assert await journal.fold() == 3
    await assert_known(DeviceReader(pool), model)


async def test_a_fold_leaves_what_comes_meanwhile_to_the_next_one(
    database: str, connection: "Conn", monkeypatch: pytest.MonkeyPatch
) -> None:
    """or, where folding is slow, each batch would be folded by itself"""
    journal, other, real = BatchJournal(connection, 0), await connect(database), fold_module._apply
    await journal.keep(a_batch(1, [report(DEVICES[0], 1)], {}), None)

    async def apply_while_batches_come(*fields: Any) -> None:
        await real(*fields)
        number = await journal.last() + 1
        await journal.keep(a_batch(number, [report(DEVICES[0], number)], {}), None)

    monkeypatch.setattr(fold_module, "_apply", apply_while_batches_come)
    async with asyncio.timeout(PATIENCE_S):
        assert await fold_all(other, 0, ID_MAX) == 1
    assert await connection.fetchval("select batch_id from batch_delta") == 2
    await other.close()


async def test_a_lanes_fold_leaves_the_others_alone(connection: "Conn") -> None:
    first, second = BatchJournal(connection, 0), BatchJournal(connection, 1)
    await first.keep(a_batch(1, [report(DEVICES[0], 1)], {}), None)
    await second.keep(a_batch((1 << 32) + 1, [report(DEVICES[1], 1)], {}), None)
    assert await fold_all(connection, *second.ids) == 1
    assert await connection.fetchval("select batch_id from batch_delta") == 1


async def test_a_fold_comes_by_size_or_by_age_and_a_writer_waits_for_a_late_one(
    connection: "Conn",
) -> None:
    journal = BatchJournal(connection, 0)

    async def unfolded() -> int:
        return int(await connection.fetchval("select count(*) from batch_delta"))

    async def until_folded(folder: Folder) -> None:
        running = asyncio.create_task(folder.run_forever())
        async with asyncio.timeout(PATIENCE_S):
            await folder.settled()
        running.cancel()
        await asyncio.wait([running])

    size = await journal.keep(a_batch(1, [report(DEVICES[0], 1)], {}), None)
    shown: list[int] = []
    by_size = Folder(connection, *journal.ids, max_bytes=size, max_age_s=3_600, show=shown.append)
    by_size.added(size)
    await until_folded(by_size)
    assert await unfolded() == 0
    assert shown == [size, 0]

    await journal.keep(a_batch(2, [report(DEVICES[0], 2)], {}), None)
    by_age = Folder(connection, *journal.ids, max_bytes=1 << 30, max_age_s=0.05)
    by_age.added(size)
    await until_folded(by_age)
    assert await unfolded() == 0

    late = replace(by_size, max_bytes=size)
    for number in (3, 4, 5):
        await journal.keep(a_batch(number, [report(DEVICES[0], number)], {}), None)
        late.added(size)
    waiting = asyncio.create_task(late.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await late.fold()
    await waiting
    assert await unfolded() == 0
