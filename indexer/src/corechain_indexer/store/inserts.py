"""Rows into the tables of the mirror: all of them, or, where Postgres refuses one, all others."""

import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asyncpg import DataError, IntegrityConstraintViolationError, PLPGSQLError

from corechain_indexer.packed_rows import COPIED_FROM, PackedRows
from corechain_indexer.projections import COLUMNS, Row
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from corechain.service.database import Conn

Tables = Mapping[str, Sequence[Row]]
Place = tuple[int, int]
"""Block number and index of a log: every row begins with them."""
PART_BYTES = 1 << 18
"""What is handed to the connection at a time."""
BATCH_ID = COLUMNS["batch"].index("batch_id")
REFUSED = (
    DataError,
    IntegrityConstraintViolationError,
    # A trigger that finds nothing where it must, or too much.
    PLPGSQLError,
    # What does not go into a column never leaves this process.
    OverflowError,
    struct.error,
)
"""A row is wrong. The next try would fail just as this one did, and so would every one after it."""


async def insert_all(connection: "Conn", tables: Tables) -> None:
    """Raises one of REFUSED. In the order of COLUMNS: rows of a packed redemption look their
    channels up."""
    for table in COLUMNS:
        if rows := tables.get(table):
            await _insert(connection, table, rows)


async def _insert(connection: "Conn", table: str, rows: Sequence[Row]) -> None:
    if isinstance(rows, PackedRows):
        await connection.copy_to_table(
            table, source=_parts(rows.packed), columns=COLUMNS[table], format="binary"
        )
        return
    if len(rows) < COPIED_FROM:
        await connection.executemany(INSERT[table], rows)
        return
    if table == "batch":
        rows = await _first_commitments(connection, rows)
    await connection.copy_records_to_table(table, records=rows, columns=COLUMNS[table])


async def _parts(packed: bytes) -> AsyncIterator[bytes]:
    """A file would be read by a thread, and the whole at once be copied by driver and loop."""
    for start in range(0, len(packed), PART_BYTES):
        yield packed[start : start + PART_BYTES]


async def _first_commitments(connection: "Conn", rows: Sequence[Row]) -> list[Row]:
    """Two commitments for one batch are a fraud of its submitter, and the first one stands. (COPY
    cannot pass over a row; there is one writer, so nobody commits in between.)"""
    first = {row[BATCH_ID]: row for row in reversed(rows)}
    for record in await connection.fetch(SQL["committed"], list(first)):
        del first[record["batch_id"]]
    return [row for row in rows if first.get(row[BATCH_ID]) is row]


@dataclass(slots=True)
class Sieve:
    """Inserts what Postgres takes, when it has refused the whole. `refused` says why, for each log
    of which something is missing.

    Such rows come from a node that lies and agrees with itself, so no border sees it: a log of a
    place that another log has, a redemption of a channel that was never opened. The mirror must not
    end with it: it is said, counted, and what the others say is kept.
    """

    connection: "Conn"
    refused: dict[Place, str] = field(default_factory=dict)

    async def insert_all(self, tables: Tables) -> None:
        """In the transaction of the caller."""
        await self._try("event", tables.get("event", ()))
        # Whose raw log is not there is nobody's: its rows would stand at another log's place.
        homeless = frozenset(self.refused)
        for table in COLUMNS:
            if table != "event":
                rows = tables.get(table, ())
                await self._try(table, [row for row in rows if row[:2] not in homeless])

    async def _try(self, table: str, rows: Sequence[Row]) -> None:
        """By halves, so that one odd row of thousands takes a dozen tries; in order."""
        if not rows:
            return
        try:
            async with self.connection.transaction():
                await _insert(self.connection, table, rows)
        except REFUSED as error:
            if len(rows) == 1:
                block, index = rows[0][:2]
                self.refused[block, index] = f"{table}, log {index}: {error}"
                return
            half = len(rows) // 2
            await self._try(table, rows[:half])
            await self._try(table, rows[half:])


def _insert_of(table: str) -> str:
    columns = COLUMNS[table]
    places = ", ".join(f"${place}" for place in range(1, len(columns) + 1))
    # The first of two commitments stands, see `_first_commitments`.
    unless = " on conflict (batch_id) do nothing" if table == "batch" else ""
    return f"insert into {table} ({', '.join(columns)}) values ({places}){unless}"


INSERT = {table: _insert_of(table) for table in COLUMNS}
