"""What the query API reads of the mirrored chain: marks, devices, batches, channels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.service.database import asked
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain_indexer.store import Asked


@dataclass(frozen=True, slots=True)
class Marks:
    """Numbers of blocks: the newest mirrored one, and up to which they are safe and final; -1 for
    none."""

    indexed: int
    safe: int
    final: int


@dataclass(frozen=True, slots=True)
class Reads:
    """Every method raises StoreUnavailable. Pages are in the order of their key, which is `after`'s
    successor first."""

    database: "Asked"

    async def ping(self) -> None:
        await asked(self.database.fetchval(SQL["ping"]))

    async def marks(self) -> Marks:
        row = await asked(self.database.fetchrow(SQL["marks"]))
        assert row is not None, "the table has always its one row"
        return Marks(row["indexed"], row["safe"], row["final"])

    async def change(self) -> str:
        """Another one after every transaction that may change an answer, and never one of before:
        what was read while it stood is still what would be read."""
        return str(await asked(self.database.fetchval(SQL["change"])))

    async def newest_rollback(self) -> int:
        return int(await asked(self.database.fetchval(SQL["newest_rollback"])))

    async def is_rolled_back(self, block: int, after_rollback: int) -> bool:
        """Whether a block was taken away after that rollback; it may stand again."""
        return bool(
            await asked(self.database.fetchval(SQL["is_rolled_back"], after_rollback, block))
        )

    async def is_settled(self, block: int) -> bool:
        """Whether what is known as of a block will never change."""
        return bool(await asked(self.database.fetchval(SQL["is_settled"], block)))

    async def state_counts(self) -> "Sequence[Record]":
        """Batches, readings and rejections, a row for each state that occurs."""
        return await asked(self.database.fetch(SQL["state_counts"]))

    # ------------------------------------------------------------------ devices

    async def devices(self, after: bytes, limit: int) -> "Sequence[Record]":
        return await asked(self.database.fetch(SQL["devices_page"], after, limit))

    async def device(self, device: bytes) -> "Record | None":
        return await asked(self.database.fetchrow(SQL["device"], device))

    async def device_count(self, limit: int) -> int:
        """How many there are, so many at the most."""
        return int(await asked(self.database.fetchval(SQL["device_count"], limit)))

    # ------------------------------------------------------------------ batches

    async def batches(
        self, after: int, limit: int, state: str | None = None, newest_block: int | None = None
    ) -> "Sequence[Record]":
        """Of one state, or of any; committed up to a block, or whenever."""
        if state is None and newest_block is None:
            return await asked(self.database.fetch(SQL["any_batches_page"], after, limit))
        arguments = (after, limit, state, newest_block)
        return await asked(self.database.fetch(SQL["batches_page"], *arguments))

    async def newest_batches(
        self,
        place: Sequence[int | bytes],
        after: int,
        limit: int,
        state: str | None = None,
        newest_block: int | None = None,
    ) -> "Sequence[Record]":
        """Those before `place`, a block and a log in it, newest first; with ids after one. As
        `batches` else, and with `log_index`."""
        arguments = (*place, after, limit, state, newest_block)
        return await asked(self.database.fetch(SQL["newest_batches_page"], *arguments))

    async def batch(self, batch_id: int) -> "Record | None":
        return await asked(self.database.fetchrow(SQL["batch"], batch_id))

    async def rejections(self, batch_id: int, after: int, limit: int) -> "Sequence[Record]":
        """By their ordinal in the data file."""
        return await asked(self.database.fetch(SQL["rejections_page"], batch_id, after, limit))

    async def verified_between(
        self, first: int, last: int, newest_block: int | None = None
    ) -> "Sequence[Record]":
        """`batch_id`, `commitment`, `block_number`, `finality` of all verified batches with these
        ids, both included; committed up to a block, or whenever."""
        question = (SQL["verified_between"], first, last, newest_block)
        return await asked(self.database.fetch(*question))

    async def next_verified(self, first: int, last: int, *, newest_first: bool) -> int | None:
        """The id of the first verified batch with an id in [first, last], or of the last."""
        query = SQL["last_verified" if newest_first else "first_verified"]
        found = await asked(self.database.fetchval(query, first, last))
        return None if found is None else int(found)

    async def batches_in_window(
        self, start: int, end: int, limit: int, newest_block: int | None = None
    ) -> list[int]:
        """Ids of the verified batches whose window (seconds) touches [start, end]."""
        question = (SQL["batches_in_window"], start, end, limit, newest_block)
        return [row["batch_id"] for row in await asked(self.database.fetch(*question))]

    async def history_spans(
        self, start: int, end: int, since_block: int, newest_block: int | None = None
    ) -> "Sequence[Record]":
        """`first` and `last` of the verified batches whose window (seconds) touches [start, end],
        committed from a block on, and up to one, a row for each lane; with the batch before them
        and the one behind them, which lie beside that."""
        question = (SQL["history_spans"], start, end, since_block, newest_block)
        return await asked(self.database.fetch(*question))

    async def newest_verified(self, limit: int) -> "Sequence[Record]":
        """`batch_id`, `commitment` of those among the newest `limit` batches that are verified and
        have the upper levels of their trees."""
        return await asked(self.database.fetch(SQL["newest_verified"], limit))

    async def headers_of(self, batch_ids: Sequence[int]) -> "Sequence[Record]":
        """Of those that are verified."""
        return await asked(self.database.fetch(SQL["headers_of"], batch_ids))

    # ------------------------------------------------------------------ channels

    async def payment_channels(
        self, payer: bytes | None, after: bytes, limit: int
    ) -> "Sequence[Record]":
        return await asked(self.database.fetch(SQL["payment_channels"], payer, after, limit))

    async def payment_channel(self, channel_id: bytes) -> "Record | None":
        return await asked(self.database.fetchrow(SQL["payment_channel"], channel_id))

    async def state_channels(
        self, party: bytes | None, after: bytes, limit: int
    ) -> "Sequence[Record]":
        return await asked(self.database.fetch(SQL["state_channels"], party, after, limit))

    async def state_channel(self, channel_id: bytes) -> "Record | None":
        return await asked(self.database.fetchrow(SQL["state_channel"], channel_id))
