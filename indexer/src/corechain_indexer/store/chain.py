"""The mirrored chain in Postgres. Events and cursor change in one transaction."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.service.database import asked, outages
from corechain_indexer.projections import COLUMNS, Row
from corechain_indexer.reconcile import Ref
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from corechain.service.database import Conn

KEPT_BLOCKS = 4096
"""Blocks in which a fork is looked for at the most."""


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What a rollback took away: batches, and (device, metric) pairs to look up anew."""

    batches: list[int]
    stale: list[tuple[bytes, int]]


@dataclass(frozen=True, slots=True)
class ChainStore:
    """Written by one mirror at a time: the connection holds the writer's lock."""

    connection: "Conn"

    async def known(self) -> list[Ref]:
        """Mirrored blocks, newest first."""
        rows = await asked(self.connection.fetch(SQL["recent_blocks"], KEPT_BLOCKS))
        return [Ref(row["number"], row["hash"]) for row in rows]

    async def append(self, logs: Sequence[Row], rows: Iterable[tuple[str, Row]], to: Ref) -> None:
        """All events up to a block, and the block: together or not at all."""
        tables: dict[str, list[Row]] = defaultdict(list)
        tables["event"] = list(logs)
        for table, row in rows:
            tables[table].append(row)
        with outages():
            async with self.connection.transaction():
                # In a fixed order: rows of a packed redemption look their channels up.
                for table in (name for name in COLUMNS if name in tables):
                    await self.connection.copy_records_to_table(
                        table, records=tables[table], columns=COLUMNS[table]
                    )
                await self.connection.execute(SQL["add_block"], to.number, to.hash)

    async def roll_back(self, to: int) -> RolledBack:
        """Forgets every block after `to` and all that follows from them."""
        with outages():
            async with self.connection.transaction():
                stale = await self.connection.fetch(SQL["stale_after"], to)
                await self.connection.execute(SQL["note_retractions"], to)
                batches = await self.connection.fetch(SQL["roll_back"], to)
        return RolledBack(
            [row["batch_id"] for row in batches],
            [(row["device"], row["metric"]) for row in stale],
        )

    async def forget(self, final: int) -> None:
        """Drops block hashes that no fork can reach any more."""
        await asked(self.connection.execute(SQL["forget_blocks"], final))
