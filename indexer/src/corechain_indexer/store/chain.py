"""The mirrored chain in Postgres. Events and cursor change in one transaction."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.service.database import asked, outages
from corechain.service.known_chain import Final
from corechain.service.reconcile import Ref
from corechain_indexer.projections import COLUMNS, Row
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn


@dataclass(frozen=True, slots=True)
class Undone:
    """The batches that a rollback took away."""

    batches: list[int]


@dataclass(frozen=True, slots=True)
class ChainStore:
    """Written by one mirror at a time: the connection holds the writer's lock.

    What it knows of the chain (`corechain.service.known_chain.Known`) is durable.
    """

    connection: "Conn"

    async def tip(self) -> Ref | None:
        return _ref(await asked(self.connection.fetchrow(SQL["cursor"])))

    async def unfinal(self) -> Sequence[Ref]:
        rows = await asked(self.connection.fetch(SQL["unfinal_blocks"]))
        return [Ref(row["number"], row["hash"]) for row in rows]

    async def oldest(self) -> Ref | None:
        return _ref(await asked(self.connection.fetchrow(SQL["oldest_block"])))

    async def append(
        self,
        logs: Sequence[Row],
        rows: Iterable[tuple[str, Row]],
        blocks: Sequence[Ref],
        final: Final,
    ) -> None:
        """All events up to a block, the blocks, and what is final: together or not at all."""
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
                await self.connection.copy_records_to_table(
                    "block", records=blocks, columns=("number", "hash")
                )
                await self.connection.execute(SQL["settle_blocks"], final.number, final.hash)
                await self.connection.execute(SQL["move_marks"], final.safe, final.safe_hash)
                await self.connection.execute(SQL["fold_tally"])

    async def roll_back(self, to: int) -> Undone:
        """Forgets every block after `to` and all that follows from them. What other stores must
        learn of it is noted in the same transaction, by triggers (migration 0007)."""
        batches = await asked(self.connection.fetch(SQL["roll_back"], to))
        return Undone([row["batch_id"] for row in batches])


def _ref(row: "Record | None") -> Ref | None:
    return None if row is None else Ref(row["number"], row["hash"])
