"""The submitter's side of the journal. Every write is one statement or one transaction."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.service.database import asked, outages
from corechain_relayer.errors import LaneHalted
from corechain_relayer.journal.batches import NewIntent
from corechain_relayer.journal.sql import query
from corechain_relayer.submitter.plan import Attempt, Fees, Intent, Receipt, State

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn

OPEN_LIMIT = 512
"""Unfinished intents that are looked after at a time; later ones wait in the journal."""


def _attempt(row: "Record") -> Attempt:
    return Attempt(
        row["hash"],
        row["nonce"],
        row["raw"],
        Fees(row["max_fee"], row["priority_fee"]),
        row["signed_at"],
        row["sent_at"],
    )


def _intent(row: "Record", attempts: Sequence[Attempt]) -> Intent:
    return Intent(
        row["id"],
        row["key"],
        row["target"],
        row["calldata"],
        State(row["state"]),
        row["nonce"],
        tuple(attempts),
        row["transaction"],
        row["block_number"],
        row["block_hash"],
    )


@dataclass(frozen=True, slots=True)
class IntentJournal:
    """Intents of one queue, signed for by one sender. Raises StoreUnavailable."""

    connection: "Conn"
    queue: str

    async def want(self, key: str, target: bytes, calldata: bytes) -> None:
        """Records an intent; one of the same key is left as it is."""
        new = NewIntent(self.queue, key, target, calldata)
        fields = (new.queue, new.key, new.target, new.calldata)
        await asked(self.connection.execute(query("insert_intent"), *fields))

    async def open_intents(self) -> list[Intent]:
        rows = await asked(self.connection.fetch(query("open_intents"), self.queue, OPEN_LIMIT))
        ids = [row["id"] for row in rows]
        attempts: dict[int, list[Attempt]] = defaultdict(list)
        for row in await asked(self.connection.fetch(query("attempts_of"), ids)):
            attempts[row["intent_id"]].append(_attempt(row))
        return [_intent(row, attempts[row["id"]]) for row in rows]

    async def transaction(self, key: str) -> bytes:
        """The transaction that did a confirmed intent."""
        row = await asked(self.connection.fetchrow(query("intent_state"), key))
        assert row is not None, key
        return bytes(row["transaction"])

    async def void(self, intent: Intent) -> None:
        """Ends an intent that is not needed any more; its nonce, if it has one, stays spent."""
        await asked(self.connection.execute(query("void_intent"), intent.id))

    async def forget(self, intent: Intent) -> None:
        """Drops an intent for which nothing was signed."""
        await asked(self.connection.execute(query("forget_intent"), intent.id))

    async def next_nonce(self, sender: bytes) -> int:
        newest = await asked(self.connection.fetchval(query("newest_nonce"), sender))
        return 0 if newest is None else int(newest) + 1

    async def record(self, intent: Intent, sender: bytes, attempt: Attempt) -> None:
        """Binds the nonce and keeps the signed bytes, before anybody else sees them."""
        with outages():
            async with self.connection.transaction():
                bound = await self.connection.execute(
                    query("claim_nonce"), intent.id, sender, attempt.nonce
                )
                if bound != "UPDATE 1":
                    raise LaneHalted(intent.key, "another nonce is bound to it already")
                await self.connection.execute(
                    query("insert_attempt"),
                    attempt.hash,
                    intent.id,
                    attempt.nonce,
                    attempt.raw,
                    attempt.fees.max_fee,
                    attempt.fees.priority_fee,
                    attempt.signed_at,
                )

    async def mark_sent(self, attempt: Attempt, now: float) -> None:
        await asked(self.connection.execute(query("mark_sent"), attempt.hash, now))

    async def confirm(self, intent: Intent, receipt: Receipt) -> None:
        await asked(
            self.connection.execute(
                query("confirm"),
                intent.id,
                receipt.hash,
                receipt.block_number,
                receipt.block_hash,
                receipt.gas_used,
            )
        )

    async def unconfirm(self, intent: Intent) -> None:
        await asked(self.connection.execute(query("unconfirm"), intent.id))

    async def finalize(self, intent: Intent) -> None:
        await asked(self.connection.execute(query("finalize"), intent.id))
