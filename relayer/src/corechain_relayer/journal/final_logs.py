"""What final blocks have told a view of a contract: kept, so that no start reads it again."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from corechain.deployment import DeployedContract
from corechain.service.database import asked, outages
from corechain.service.reconcile import Ref
from corechain.service.words import LARGEST_INDEX, Log
from corechain_relayer.journal.sql import query

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

WORD = 32
LOGS_AT_ONCE = 5_000
"""Rows of one question: some 20 ms of work."""
READS_ON_S = 6.0
"""Who keeps something goes on reading for so long, as far as the others know, and while its session
of Postgres is there: three times as long as it takes to keep the next piece."""


class Subject(NamedTuple):
    """What a log is about, and whether that ends with it: then no view needs its logs any more."""

    id: bytes
    ends: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """All logs up to `through`, which was final, are kept. `is_being_read`: by somebody else."""

    id: int
    first_block: int
    through: Ref
    logs: int
    is_being_read: bool

    @classmethod
    def of(cls, row: "Record | None") -> "Standing | None":
        if row is None:
            return None
        through = Ref(row["block"], row["block_hash"])
        return cls(row["id"], row["first_block"], through, row["logs"], row["is_being_read"])


@dataclass(frozen=True, slots=True)
class FinalLogs:
    """Those of one contract for one view of it. Any number of processes may use it: what one keeps
    is taken only if it goes on where the last one ended. Raises StoreUnavailable."""

    pool: "Database"
    chain_id: int
    contract: DeployedContract
    name: str
    """Of the view: two views of a contract may begin at different blocks."""
    reads_on_s: float = READS_ON_S
    logs_at_once: int = LOGS_AT_ONCE
    reader: uuid.UUID = field(default_factory=uuid.uuid4)

    @property
    def _key(self) -> tuple[str, str, bytes]:
        # As text: as numeric it takes the client ten times as long.
        return self.name, str(self.chain_id), self.contract.address

    async def standing(self) -> Standing | None:
        """None where nothing is kept."""
        row = await asked(self.pool.fetchrow(query("final_view"), *self._key, self.reader))
        return Standing.of(row)

    async def after(self, block: int) -> tuple[Standing | None, list[Log]]:
        """How far all is kept, and the logs after a block, as of one moment. None where some of the
        logs are missing: what is kept is of no use then."""
        with outages():
            async with (
                self.pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                row = await connection.fetchrow(query("final_view"), *self._key, self.reader)
                found = Standing.of(row)
                if found is None:
                    return None, []
                count = await connection.fetchval(query("count_final_logs"), found.id)
                if count != found.logs:
                    return None, []
                return found, await self._after(connection, found.id, block)

    async def _after(self, connection: Any, view: int, block: int) -> list[Log]:
        """In pieces: a million at once would be longer than a question may take, and the event loop
        would not turn while objects are made of them."""
        logs, place = list[Log](), (block, LARGEST_INDEX)
        while True:
            rows = await connection.fetch(query("final_logs"), view, *place, self.logs_at_once)
            logs += map(self._log, rows)
            if len(rows) < self.logs_at_once:
                return logs
            place = logs[-1].block_number, logs[-1].index

    async def blocks(self, of: Standing) -> list[Ref]:
        """Known blocks, oldest first: those with a log, and the last."""
        rows = await asked(self.pool.fetch(query("final_log_blocks"), of.id))
        refs = [Ref(row["block_number"], row["block_hash"]) for row in rows]
        return refs if refs and refs[-1] == of.through else [*refs, of.through]

    async def keep(
        self,
        before: Ref | None,
        through: Ref,
        logs: Sequence[Log],
        subjects: Sequence[Subject] = (),
    ) -> bool:
        """The logs after `before` (None: from the first block on) up to `through`, which is final,
        in one transaction; but those about what has ended, also of before. False where that is not
        how far it is kept now, or another reads on."""
        with outages():
            async with self.pool.acquire() as connection, connection.transaction():
                number = await connection.fetchval(*self._advance(before, through, len(logs)))
                if number is not None and logs:
                    about = [one.id for one in subjects] if subjects else [None] * len(logs)
                    columns = (*_columns(logs), about)
                    await connection.execute(query("insert_final_logs"), number, *columns)
                if number is not None and (ended := [one.id for one in subjects if one.ends]):
                    await connection.execute(query("drop_spent_logs"), number, ended)
        return number is not None

    def _advance(self, before: Ref | None, through: Ref, logs: int) -> tuple[Any, ...]:
        """A query and its words."""
        words = (*self._key, *through, logs, self.reader)
        if before is None:
            return query("begin_final_view"), *words, self.contract.block, self.reads_on_s
        return query("advance_final_view"), *words, *before, self.reads_on_s

    async def add(self, logs: Sequence[Log]) -> None:
        """Logs of kept blocks that had been left out."""
        with outages():
            async with self.pool.acquire() as connection, connection.transaction():
                row = await connection.fetchrow(query("lock_final_view"), *self._key)
                if row is None:
                    return
                kept = [entry for entry in logs if entry.block_number <= row["block"]]
                words = (row["id"], *_columns(kept), [None] * len(kept))
                await connection.execute(query("add_final_logs"), *words)

    async def forget_before(self, block: int) -> None:
        """The logs before a block are wanted no more."""
        found = await self.standing()
        if found is not None and found.first_block < block:
            await asked(self.pool.execute(query("forget_final_logs"), found.id, block))

    async def cut(self, of: Standing, to: Ref) -> None:
        """Forgets what came after a block, unless somebody has gone on since."""
        with outages():
            async with self.pool.acquire() as connection, connection.transaction():
                words = (of.id, *of.through, *to)
                if await connection.fetchval(query("cut_final_view"), *words) is not None:
                    await connection.execute(query("cut_final_logs"), of.id, to.number)

    async def drop(self, of: Standing) -> None:
        """Forgets all of it, unless somebody has gone on since."""
        await asked(self.pool.execute(query("drop_final_view"), of.id, *of.through))

    def _log(self, row: Any) -> Log:
        topics = row["topics"]
        return Log(
            self.contract.address,
            tuple(topics[at : at + WORD] for at in range(0, len(topics), WORD)),
            row["data"],
            row["block_number"],
            row["block_hash"],
            row["transaction"],
            row["log_index"],
        )


def _columns(logs: Sequence[Log]) -> tuple[list[Any], ...]:
    return (
        [entry.block_number for entry in logs],
        [entry.index for entry in logs],
        [entry.block_hash for entry in logs],
        [entry.transaction for entry in logs],
        [b"".join(entry.topics) for entry in logs],
        [entry.data for entry in logs],
    )
