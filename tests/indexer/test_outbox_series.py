"""What a series database must learn is emitted until it knows it, whatever came in between.

given batches that are verified and undone in Postgres
  ├── after a reorg and a crash at any step: the series has the points that stand in Postgres
  ├── a retraction writes no month again, and copies nothing for a series that is not there
  └── another series database is filled from the beginning
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from corechain.protocol.reading import DeviceId, Reading
from corechain.service.database import writer
from corechain_indexer.export import Exporter, split_leaves
from corechain_indexer.metrics import Metrics
from corechain_indexer.series_export import SeriesSink
from corechain_indexer.store.points import Leaves, Span
from corechain_indexer.store.segments import Segments
from indexer.shelves import CELL, DEVICES, Fuse, Killed, Mortal, Shelf, filled, shelf_on


async def test_a_verdict_that_goes_while_the_batch_stays_is_told_too(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        await filled(shelf)
        await shelf.export()
        await shelf.pool.execute("delete from batch_file where batch_id = 3")
        await shelf.is_honest()
        await shelf.pool.execute("update batch_file set state = 'mismatch' where batch_id = 2")
        await shelf.is_honest()
        await shelf.export()
        await shelf.is_settled()
        rows = await shelf.pool.fetch("select kind, batch_id from outbox where sink = 'series'")
        assert [tuple(row) for row in rows][-2:] == [("retract", 3), ("retract", 2)]


async def test_a_rollback_that_meets_the_verdict_halfway_does_not_miss_it(
    database: str, bus_url: str
) -> None:
    """The verifier has not committed yet when the mirror undoes the batch: both must be told."""
    async with shelf_on(database, bus_url) as shelf:
        await shelf.pool.execute(
            "insert into batch values (1, 0, 1, $1, $2, $2)", bytes(26), bytes(32)
        )
        connection = await asyncpg.connect(database)
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("insert into batch_file (batch_id, state) values (1, 'verified')")
        leaf = Reading(1, CELL, DeviceId(DEVICES[0]), 100, 1).pack()
        await Segments.of(1, leaf).copy_to(connection)
        undoing = asyncio.create_task(shelf.undo(0))
        await asyncio.sleep(0.1)
        assert not undoing.done()  # it waits for the verifier's transaction
        await transaction.commit()
        await undoing
        await connection.close()
        kinds = await shelf.pool.fetch("select kind from outbox where sink = 'series' order by id")
        assert [row["kind"] for row in kinds] == ["add", "retract"]
        assert await shelf.pool.fetchval("select count(*) from stale_device") == 1


@dataclass
class Notes:
    """A series that writes down what it is told, point by point, and counts the questions."""

    name: str
    points: set[tuple[int, bytes]] = field(default_factory=set)
    asked: int = 0

    async def target(self) -> str:
        return self.name

    def forget_place(self) -> None:
        """It is always the same."""

    async def write(self, leaves: Leaves) -> None:
        self.asked += 1
        self.points |= {(leaves.batch_id, row.tobytes()) for row in leaves.rows}

    async def write_again(self, parts: Sequence[Leaves]) -> None:
        for leaves in parts:
            await self.write(leaves)
        self.asked += 1 - len(parts)

    async def erase(self, spans: Sequence[Span]) -> None:
        self.asked += 1
        self.points = {
            (batch, leaf)
            for batch, leaf in self.points
            if not any(a <= Reading.unpack(leaf).observed_at <= b for a, b in spans)
        }

    async def clear(self) -> None:
        self.asked += 1
        self.points = set()

    async def close(self) -> None:
        """There is nobody to hang up on."""


async def export_series(shelf: Shelf, notes: Notes | None, fuse: Fuse | None = None) -> None:
    try:
        async with writer(shelf.url, "corechain indexer series") as connection:
            behind: Any = Mortal(connection, fuse or Fuse())
            exporter = Exporter(behind, SeriesSink(notes, Metrics()))
            while await exporter.step():
                pass
    except Killed:
        return


async def points_of(shelf: Shelf) -> set[tuple[int, bytes]]:
    """What stands in Postgres."""
    rows = await shelf.pool.fetch("select batch_id, leaves from batch_file")
    return {(row["batch_id"], leaf) for row in rows for leaf in split_leaves(row["leaves"])}


async def test_a_series_converges_after_a_reorg_and_a_crash_at_any_step(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        steps, burnt = 0, True
        while burnt:
            await shelf.pool.execute("truncate batch, outbox, stale_device cascade")
            notes = Notes(f"influx {steps}")
            await filled(shelf)
            await export_series(shelf, notes)
            await shelf.undo(1)
            # Its readings share a second with one that stands, and with one that is gone.
            await shelf.verify(2, [(0, 1, 100), (1, 1, 300), (0, 1, 500)], salt=1)
            fuse = Fuse(steps)
            await export_series(shelf, notes, fuse)
            await export_series(shelf, notes)
            assert notes.points == await points_of(shelf)
            steps, burnt = steps + 1, fuse.burnt
        assert steps > 5


async def test_a_late_reading_does_not_make_a_retraction_write_a_month_again(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        notes = Notes("influx")
        for number in range(1, 31):
            await shelf.verify(number, [(0, 1, 86_400 * number)])
        await shelf.verify(31, [(1, 1, 86_400), (1, 1, 86_400 * 31)])
        await export_series(shelf, notes)
        notes.asked = 0
        await shelf.undo(30)
        await export_series(shelf, notes)
        assert notes.points == await points_of(shelf)
        written_again = notes.asked - 1
        assert written_again == 1


async def test_a_retraction_writes_all_neighbours_again_in_one_request(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        notes = Notes("influx")
        for number in range(1, 31):
            await shelf.verify(number, [(number % 2, 1, 100 + number)])
        await shelf.verify(31, [(0, 1, 90), (0, 1, 140)])
        await export_series(shelf, notes)
        notes.asked = 0
        await shelf.undo(30)
        await export_series(shelf, notes)
        assert notes.points == await points_of(shelf)
        assert notes.asked == 2, "one erasure, one request"


async def test_a_reorg_copies_no_readings_for_a_series_that_is_not_there(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        kept = "select leaves is not null from outbox where sink = 'series' and kind = 'retract'"
        await export_series(shelf, None)
        await filled(shelf)
        await shelf.undo(2)
        assert await shelf.pool.fetchval(kept) is False
        await export_series(shelf, Notes("influx"))
        await shelf.undo(1)
        assert await shelf.pool.fetchval(kept) is True


async def test_another_series_database_is_filled_from_the_beginning(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        await filled(shelf)
        await export_series(shelf, None)
        first = Notes("influx", {(9, bytes(40))})
        await export_series(shelf, first)
        assert first.points == await points_of(shelf), "what another life has left is gone"
        again = Notes("influx")
        await export_series(shelf, again)
        assert again.points == set()
        other = Notes("another influx")
        await export_series(shelf, other)
        assert other.points == await points_of(shelf)
