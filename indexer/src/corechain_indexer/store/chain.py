"""The mirrored chain in Postgres. Events and cursor change in one transaction."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from corechain.service.database import asked, outages
from corechain.service.known_chain import Final, MemoryChain
from corechain.service.reconcile import Ref
from corechain_indexer.store import SQL
from corechain_indexer.store.inserts import REFUSED, Sieve, Tables, insert_all

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn


@dataclass(frozen=True, slots=True)
class Undone:
    """The batches that a rollback took away."""

    batches: list[int]


class Source(NamedTuple):
    """A contract whose logs are mirrored: with the others, or `through` a block of its own."""

    address: bytes
    joined: bool
    through: Ref | None


Odd = tuple[int, str]
"""The block of a log of which Postgres would not take all rows, and why."""
FOLD_EVERY = 64
"""Ranges between two sums of the tallies when no batch comes: verdicts add rows to it too."""


@dataclass(slots=True)
class ChainStore:
    """Written by one mirror at a time: the connection holds the writer's lock.

    What it knows of the chain (`corechain.service.known_chain.Known`) is durable. As nobody else
    writes it, the blocks that are not final are read once and then kept in memory as well: a look
    at a chain on which nothing has happened asks Postgres nothing.
    """

    connection: "Conn"
    _memory: MemoryChain | None = None
    _unfolded: int = 0
    _tagged: bool | None = None

    async def begin(self) -> None:
        """A session of the writer: what was answered before is asked for once more. The database
        may be an older one than that which has labelled those answers."""
        await asked(self.connection.execute(SQL["begin_life"]))

    async def tip(self) -> Ref | None:
        return await (await self._known()).tip()

    async def unfinal(self) -> Sequence[Ref]:
        return await (await self._known()).unfinal()

    async def oldest(self) -> Ref | None:
        return await (await self._known()).oldest()

    async def _known(self) -> MemoryChain:
        if self._memory is None:
            rows = await asked(self.connection.fetch(SQL["unfinal_blocks"]))
            first = await asked(self.connection.fetchrow(SQL["oldest_block"]))
            refs = [Ref(row["number"], row["hash"]) for row in reversed(rows)]
            self._memory = MemoryChain(refs, _ref(first))
        return self._memory

    async def is_tagged(self) -> bool:
        """Whether a node ever named its final block to this index."""
        if self._tagged is None:
            self._tagged = bool(await asked(self.connection.fetchval(SQL["is_tagged"])))
        return self._tagged

    async def append(self, tables: Tables, blocks: Sequence[Ref], final: Final) -> list[Odd]:
        """All events up to a block, the blocks, and what is final: together or not at all. The logs
        of which a row was refused.

        The blocks are known from the first moment on, so that what comes behind them can be asked
        for while they are stored; after a failure what is known is read again.
        """
        known = await self._known()
        known.extend(blocks)
        settled = known.settle(final) is not None
        marks = final if settled or final.safe else None

        noted = final.tagged and not await self.is_tagged()

        async def behind() -> None:
            if noted:
                await self.connection.execute(SQL["note_tagged"])
            await self._extend(blocks, marks)
            await self._fold(bool(tables.get("batch")))

        try:
            odd = await self._write(tables, behind)
        except BaseException:
            self._memory = None
            raise
        self._tagged = self._tagged or noted
        return odd

    async def _write(self, tables: Tables, behind: Callable[[], Awaitable[None]]) -> list[Odd]:
        """Rows, and what belongs to them, in one transaction; rows that are refused alone are left
        out of a second one."""
        with outages():
            try:
                async with self.connection.transaction():
                    await insert_all(self.connection, tables)
                    await behind()
                return []
            except REFUSED:
                sieve = Sieve(self.connection)
                async with self.connection.transaction():
                    await sieve.insert_all(tables)
                    await behind()
                return [(block, why) for (block, _), why in sieve.refused.items()]

    async def _extend(self, blocks: Sequence[Ref], final: Final | None) -> None:
        numbers, hashes = [ref.number for ref in blocks], [ref.hash for ref in blocks]
        await self.connection.execute(SQL["add_blocks"], numbers, hashes)
        if final is not None:
            marks = (final.number, final.hash, final.safe, final.safe_hash)
            await self.connection.execute(SQL["advance"], *marks)

    async def _fold(self, batches: bool) -> None:
        self._unfolded += 1
        if batches or self._unfolded >= FOLD_EVERY:
            await self.connection.execute(SQL["fold_tally"])
            self._unfolded = 0

    # --------------------------------------------------------------------- sources

    async def sources(self) -> list[Source]:
        """The contracts that are mirrored, or on their way."""
        rows = await asked(self.connection.fetch(SQL["sources"]))
        return [
            Source(row["address"], row["joined"], _reached(row["through"], row["hash"]))
            for row in rows
        ]

    async def mirrored(self, addresses: Sequence[bytes]) -> list[bytes]:
        """Those of which there is a log."""
        query = SQL["is_mirrored"]
        return [a for a in addresses if await asked(self.connection.fetchval(query, a))]

    async def add_sources(self, addresses: Sequence[bytes], *, joined: bool) -> None:
        await asked(self.connection.execute(SQL["add_sources"], list(addresses), joined))

    async def add(
        self, tables: Tables, addresses: Sequence[bytes], through: Ref, *, joined: bool
    ) -> list[Odd]:
        """Events of contracts that are behind the others, and how far they are with it. The logs
        of which a row was refused."""
        place = (list(addresses), joined, through.number, through.hash)

        async def behind() -> None:
            await self.connection.execute(SQL["move_sources"], *place)

        return await self._write(tables, behind)

    async def roll_back(self, to: int) -> Undone:
        """Forgets every block after `to` and all that follows from them. What other stores must
        learn of it is noted in the same transaction, by triggers (migration 0007)."""
        self._memory = self._tagged = None
        batches = await asked(self.connection.fetch(SQL["roll_back"], to))
        return Undone([row["batch_id"] for row in batches])


def _reached(number: int | None, hash_: bytes | None) -> Ref | None:
    return None if number is None or hash_ is None else Ref(number, hash_)


def _ref(row: "Record | None") -> Ref | None:
    return None if row is None else Ref(row["number"], row["hash"])
