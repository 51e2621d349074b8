"""Which kinds of events are rows already, and the rows of the others, made from raw logs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from corechain.protocol.logs import WORD
from corechain.service.database import asked, outages
from corechain.service.words import Log
from corechain_indexer.kinds import Decoder
from corechain_indexer.projections import COLUMNS, Row
from corechain_indexer.store import SQL
from corechain_indexer.store.inserts import Place, Sieve, Tables

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn

DERIVED = tuple(table for table in COLUMNS if table != "event")
_DEVICE_TABLES = ("device_event", "fleet_device")
_COUNTED = ("registered", "materialised")
"""What a verdict looks for: later events of a device change none (query `registered_devices`)."""


class Decoded(NamedTuple):
    """What the index has of a kind; `through` a block, None for everything."""

    topic: bytes
    name: str
    revision: int
    through: int | None


@dataclass(frozen=True, slots=True)
class Change:
    """Rows that are to go, by their places, and those that come; of whole logs."""

    gone: Mapping[str, Sequence[Place]]
    tables: Tables
    devices: Sequence[bytes]
    """Devices that count from another block on, or otherwise, than verdicts were told."""
    first_block: int
    """Of what changes for them."""


@dataclass(frozen=True, slots=True)
class DecodedStore:
    """Of the one mirror: the connection holds the writer's lock. Every method raises
    StoreUnavailable."""

    connection: "Conn"

    async def all(self) -> list[Decoded]:
        return [Decoded(**row) for row in await asked(self.connection.fetch(SQL["decoded"]))]

    async def begin(
        self, decoders: Iterable[Decoder], through: int | None, forgotten: Sequence[bytes]
    ) -> None:
        """Notes that rows of these are there through a block. Forgets the topics that this version
        makes nothing of."""
        rows = [(d.topic, d.name, d.revision, through) for d in decoders]
        with outages():
            async with self.connection.transaction():
                await self.connection.executemany(SQL["decode_anew"], rows)
                await self.connection.execute(SQL["forget_decoded"], list(forgotten))

    async def end_of_range(self, after: int, until: int, logs: int) -> int:
        """The last block of a range with about so many raw logs, of whatever kind."""
        query = SQL["end_of_range"]
        found = await asked(self.connection.fetchval(query, after, until, logs))
        return until if found is None else int(found)

    async def logs(self, after: int, through: int, topics: Sequence[bytes]) -> list[Log]:
        query = SQL["raw_logs"]
        rows = await asked(self.connection.fetch(query, after, through, list(topics)))
        return [_log(row) for row in rows]

    async def change(self, logs: Sequence[Log], tables: Tables) -> Change:
        """What makes the rows of some logs those of `tables`."""
        places = {(entry.block_number, entry.index) for entry in logs}
        first, last = logs[0].block_number, logs[-1].block_number
        gone, come, odd = {}, {}, set()
        for table in DERIVED:
            kept = await self._kept(table, first, last, places)
            wanted = tables.get(table, ())
            differing = kept ^ set(wanted)
            touched = {(row[0], row[1]) for row in differing}
            if touched:
                gone[table] = sorted(touched)
                come[table] = [row for row in wanted if (row[0], row[1]) in touched]
                odd |= set(_devices_of(table, differing))
        devices = sorted({device for device, _ in odd})
        return Change(gone, come, devices, min((block for _, block in odd), default=0))

    async def _kept(self, table: str, first: int, last: int, places: set[Place]) -> set[Row]:
        rows = await asked(self.connection.fetch(_SELECT[table], first, last))
        return {tuple(row) for row in rows if (row[0], row[1]) in places}

    async def apply(
        self, change: Change, topics: Sequence[bytes], through: int | None
    ) -> list[tuple[int, str]]:
        """The rows, and how far the kinds have come (None: all the way): together or not at all.
        The blocks of logs of which a row was refused, and why."""
        sieve = Sieve(self.connection)
        with outages():
            async with self.connection.transaction():
                for table, places in change.gone.items():
                    blocks, indexes = zip(*places, strict=True)
                    await self.connection.execute(_DELETE[table], blocks, indexes)
                await sieve.insert_all(change.tables)
                if change.devices:
                    await self._unsettle(change)
                await self.connection.execute(SQL["move_decoded"], list(topics), through)
        return [(block, why) for (block, _), why in sieve.refused.items()]

    async def reach(self, topics: Sequence[bytes], through: int | None) -> None:
        """Notes how far the kinds have come where nothing of theirs was."""
        await asked(self.connection.execute(SQL["move_decoded"], list(topics), through))

    async def _unsettle(self, change: Change) -> None:
        first = change.first_block
        await self.connection.execute(SQL["unsettle_verdicts"], first, list(change.devices))
        await self.connection.execute(SQL["unsettle_epochs"], first)


def _devices_of(table: str, rows: Iterable[Row]) -> Iterable[tuple[bytes, int]]:
    """(device, block) of the rows that a verdict looks at."""
    if table not in _DEVICE_TABLES:
        return
    columns = COLUMNS[table]
    device = columns.index("device")
    kind = columns.index("kind") if "kind" in columns else None
    for row in rows:
        if kind is None or row[kind] in _COUNTED:
            yield row[device], row[0]


def _log(row: "Record") -> Log:
    topics = row["topics"]
    return Log(
        row["address"],
        tuple(topics[at : at + WORD] for at in range(0, len(topics), WORD)),
        row["data"],
        row["block_number"],
        row["block_hash"],
        row["transaction"],
        row["log_index"],
    )


_SELECT = {
    table: f"select {', '.join(COLUMNS[table])} from {table} where block_number between $1 and $2"
    for table in DERIVED
}
_DELETE = {
    table: f"delete from {table} where (block_number, log_index) in "
    "(select * from unnest($1::bigint[], $2::integer[]))"
    for table in DERIVED
}
