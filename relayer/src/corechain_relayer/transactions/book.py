"""The journal as operators see it, and the rows by which they say what they want. No lock is
needed: a submitter looks at the rows in its next round, whoever wrote them, and after any crash."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from corechain.service.database import asked, outages
from corechain.service.sql import queries
from corechain_relayer.challenger.store import QUEUE as CHALLENGES
from corechain_relayer.challenger.store import VETOES
from corechain_relayer.guard.store import QUEUE as GUARD
from corechain_relayer.journal.sql import query
from corechain_relayer.submitter.plan import State
from corechain_relayer.transactions.errors import (
    AlreadyMined,
    AlreadyVoid,
    BeingCancelled,
    CommitNotCancellable,
    NothingSigned,
    OfAnotherQueue,
    UnknownQueue,
    UnknownTransaction,
)
from corechain_relayer.transactions.rows import (
    Ahead,
    AttemptRow,
    Health,
    QueueLook,
    Transaction,
    attempt_of,
    look_of,
    transaction_of,
)
from corechain_relayer.transactions.spending import DAY_S, Sample

if TYPE_CHECKING:
    from corechain.service.database import Conn, Database

SQL = queries(__package__)
OPEN = (State.QUEUED, State.PENDING, State.CONFIRMED)
MINED = (State.CONFIRMED, State.FINAL)
BATCH = "batch:"
NEWEST = 1 << 62
"""Above every id."""
MOST = 1_000
"""Rows of one answer; the next page begins below the last id of this one."""
SAMPLE_EVERY_S, SAMPLES_KEPT_S = 600.0, 3 * DAY_S
VOIDED, CANCELLING, BUMPING, PAUSED, RESUMED = "void", "cancelling", "bumping", "paused", "resumed"


def is_commit(key: str) -> bool:
    return key.startswith(BATCH)


@dataclass(frozen=True, slots=True)
class Book:
    """Every method raises StoreUnavailable."""

    pool: "Database | Conn"

    # ------------------------------------------------------------------ reading

    async def page(
        self,
        queue: str | None = None,
        states: Sequence[State] | None = OPEN,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Transaction]:
        """The newest first, with ids below `before`; of any state where `states` is None.

        Raises UnknownQueue.
        """
        if queue is not None:
            await self._require(queue)
        wanted = None if states is None else [state.value for state in states]
        below = NEWEST if before is None else before
        rows = await asked(self.pool.fetch(SQL["transactions"], queue, wanted, below, limit))
        return [transaction_of(row) for row in rows]

    async def find(self, name: str) -> Transaction:
        """By number, key or transaction hash. Raises UnknownTransaction."""
        number = await self._number(name)
        if number is not None and number < NEWEST:
            fields = (None, None, number + 1, 1)
            row = await asked(self.pool.fetchrow(SQL["transactions"], *fields))
            if row is not None and row["id"] == number:
                return transaction_of(row)
        raise UnknownTransaction(name)

    async def _number(self, name: str) -> int | None:
        if name.isascii() and name.isdigit():
            return int(name[:20])
        digits = name.removeprefix("0x")
        is_hash = len(digits) == 64 and all(c in "0123456789abcdefABCDEF" for c in digits)
        found = bytes.fromhex(digits) if is_hash else None
        if "\0" in name:  # Postgres has no such text
            return None
        number = await asked(self.pool.fetchval(SQL["transaction_named"], name, found))
        return None if number is None else int(number)

    async def attempts(self, number: int) -> list[AttemptRow]:
        """All that was ever signed for an intent, oldest first."""
        return [attempt_of(r) for r in await asked(self.pool.fetch(SQL["all_attempts"], number))]

    async def ahead(self, found: Transaction) -> Ahead | None:
        """The open intents before one in its queue."""
        row = await asked(self.pool.fetchrow(SQL["ahead"], found.queue, found.id))
        return None if row is None else Ahead(row["number"], row["key"], row["state"])

    async def look(self, queue: str) -> QueueLook | None:
        """What the queue's submitter said last; None where there never was one."""
        row = await asked(self.pool.fetchrow(SQL["queue_look"], queue))
        return None if row is None else look_of(row)

    async def owner(self, sender: bytes, nonce: int) -> str | None:
        """The key of the intent that a nonce was signed for."""
        row = await asked(self.pool.fetchrow(SQL["nonce_owner"], sender, nonce))
        return None if row is None else str(row["key"])

    async def health(self, queue: str) -> Health:
        row = await asked(self.pool.fetchrow(SQL["queue_health"], queue))
        assert row is not None, queue
        waits = (row["wait_kind"], row["wait_reason"])
        return Health(row["key"], row["age_s"] or 0.0, row["nonce"], row["pause"], *waits)

    async def keep_balance(self, sender: bytes, balance: int) -> None:
        """Samples are ten minutes apart, and kept for three days."""
        fields = (sender, balance, SAMPLE_EVERY_S, SAMPLES_KEPT_S)
        await asked(self.pool.execute(SQL["keep_balance"], *fields))

    async def balances(self, sender: bytes) -> list[Sample]:
        """Oldest first."""
        rows = await asked(self.pool.fetch(SQL["balances"], sender))
        return [Sample(row["age_s"], int(row["balance"])) for row in rows]

    async def queues(self) -> list[str]:
        return [row["queue"] for row in await asked(self.pool.fetch(SQL["known_queues"]))]

    async def _require(self, queue: str) -> None:
        known = await self.queues()
        if queue not in known:
            raise UnknownQueue(queue, known)

    # ------------------------------------------------------------------ wishes

    async def bump(self, name: str, reason: str) -> dict[str, Any]:
        """The newest transaction of an intent is to be replaced at a higher fee.

        Raises UnknownTransaction, AlreadyMined, AlreadyVoid, NothingSigned, BeingCancelled.
        """
        found = await self.find(name)
        if found.cancel is not None and found.state == State.PENDING:
            raise BeingCancelled(found.key)
        _require_open(found)
        if found.spent_block is not None:
            raise AlreadyMined(found.key, f"pending, with its nonce spent in {found.spent_block}")
        wished = await asked(self.pool.fetchval(SQL["wish_bump"], found.id, reason))
        if wished is None:
            raise NothingSigned(found.key)
        return {"id": found.id, "key": found.key, "state": BUMPING, "replaces": _hex(wished)}

    async def cancel(self, name: str, reason: str) -> dict[str, Any]:
        """An intent is to be given up: at once where nothing is signed for it, else by a
        transaction that spends its nonce on nothing.

        Raises UnknownTransaction, CommitNotCancellable, AlreadyMined, AlreadyVoid.
        """
        found = await self.find(name)
        if is_commit(found.key):
            raise CommitNotCancellable(found.key, found.queue)
        with outages():
            async with _connection(self.pool) as connection, connection.transaction():
                row = await connection.fetchrow(SQL["lock_transaction"], found.id)
                if row is None:
                    raise UnknownTransaction(name)
                _require_open(found.now(row["state"]))
                is_queued = row["state"] == State.QUEUED
                query = SQL["void_now" if is_queued else "wish_cancel"]
                await connection.execute(query, found.id, reason)
        said = {"id": found.id, "key": found.key, "state": VOIDED if is_queued else CANCELLING}
        return said | ({"note": _NOTES[found.queue]} if found.queue in _NOTES else {})

    async def pause(self, queue: str, reason: str) -> dict[str, Any]:
        """Nothing is signed or sent in a queue until it is resumed. `reason`: the one that is kept,
        which is an earlier one where it `was_paused`. Raises UnknownQueue."""
        await self._require(queue)
        row = await asked(self.pool.fetchrow(SQL["pause_queue"], queue, reason))
        assert row is not None, queue
        return {"queue": queue, "state": PAUSED, **row}

    async def pauses(self, queue: str | None) -> list[str]:
        """A sentence for each queue that is paused, of one or all."""
        rows = await asked(self.pool.fetch(SQL["paused_queues"], queue))
        return [
            f"{row['queue']} is paused since {row['since']:%Y-%m-%d %H:%M} UTC ({row['reason']}): "
            f"`corechain tx resume {row['queue']}`"
            for row in rows
        ]

    async def resume(self, queue: str) -> dict[str, Any]:
        """`was_paused`: whether that changed anything. Raises UnknownQueue."""
        await self._require(queue)
        gone = await asked(self.pool.fetchval(SQL["resume_queue"], queue))
        return {"queue": queue, "state": RESUMED, "was_paused": gone is not None}

    async def release(self, queue: str | None, name: str | None) -> list[str]:
        """Keys of the intents that stood still and are tried again: of a queue, or the one of this
        name, or all. A name that is mistyped would release nothing, and say so as if nothing stood
        still. Raises UnknownQueue, UnknownTransaction, OfAnotherQueue."""
        if queue is not None:
            await self._require(queue)
        found = None if name is None else await self.find(name)
        if found is not None and queue not in (None, found.queue):
            raise OfAnotherQueue(found.key, found.queue)
        key = None if found is None else found.key
        return [row["key"] for row in await asked(self.pool.fetch(query("release"), queue, key))]


_NOTES = {
    GUARD: "the guard answers a demand anew as long as it is open, as half of the lane's bond is "
    "at stake: `corechain tx pause guard` keeps it from that",
    CHALLENGES: "the challenger does it anew as long as the contract takes it: `corechain tx "
    "pause challenger` keeps it from that",
    VETOES: "a wrong root is vetoed anew as long as its window is open: `corechain tx pause "
    "vetoes` keeps it from that",
}
"""What who cancels in a queue should know of it."""


def _hex(value: bytes) -> str:
    return f"0x{value.hex()}"


def _require_open(found: Transaction) -> None:
    if found.state in MINED:
        raise AlreadyMined(found.key, found.state)
    if found.state == State.VOID:
        raise AlreadyVoid(found.key)


def _connection(pool: "Database | Conn") -> Any:
    """A connection of a pool, or the one that there is."""
    from asyncpg import Connection

    return _Held(pool) if isinstance(pool, Connection) else pool.acquire()


@dataclass(frozen=True, slots=True)
class _Held:
    """A connection that is somebody else's to close."""

    connection: Any

    async def __aenter__(self) -> Any:
        return self.connection

    async def __aexit__(self, *exc: object) -> None:
        return None
