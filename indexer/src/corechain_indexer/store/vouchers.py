"""The book of paid queries: vouchers, answers that were paid, deposits under way.

Amounts in base units of the token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from corechain.service.database import asked
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain_indexer.store import Asked


class PaidQuery(NamedTuple):
    """What names an answer that was paid: only the same payment for the same query gets it."""

    channel_id: bytes
    amount: int
    payment_id: str
    query: bytes


@dataclass(frozen=True, slots=True)
class Vouchers:
    """Every method raises StoreUnavailable."""

    database: "Asked"

    # ------------------------------------------------------------------ vouchers

    async def held(self, channel_id: bytes) -> "Record | None":
        """What is signed and charged so far; None before a channel's first payment."""
        return await asked(self.database.fetchrow(SQL["held_voucher"], channel_id))

    async def locked(self, channel_id: bytes, claimed: int) -> "Record | None":
        """The same, locked to the end of the transaction, so that a channel's requests come one
        after another; a new row is charged what the chain has claimed."""
        row = await asked(self.database.fetchrow(SQL["lock_voucher"], channel_id))
        if row is None:
            # Of two first requests one makes the row, and the other waits here for its end.
            await asked(self.database.execute(SQL["begin_voucher"], channel_id, claimed))
            row = await asked(self.database.fetchrow(SQL["lock_voucher"], channel_id))
        return row

    async def charge(self, channel_id: bytes, amount: int, signature: bytes, config: bytes) -> None:
        values = (channel_id, amount, signature, config)
        await asked(self.database.execute(SQL["charge_voucher"], *values))

    async def open(self) -> "list[Record]":
        """On which more is charged than is claimed on the mirrored chain."""
        return await asked(self.database.fetch(SQL["vouchers"]))

    async def endangered(self) -> "Sequence[Record]":
        """Channels whose payer withdraws what covers charged queries, the most urgent first."""
        return await asked(self.database.fetch(SQL["endangered_vouchers"]))

    # ------------------------------------------------------------------- answers

    async def keep_answer(self, paid: PaidQuery, body: bytes, receipt: str) -> None:
        await asked(self.database.execute(SQL["keep_answer"], *paid, body, receipt))

    async def kept_answer(self, paid: PaidQuery) -> "Record | None":
        return await asked(self.database.fetchrow(SQL["kept_answer"], *paid))

    # ------------------------------------------------------------------ deposits

    async def deposited(self, channel_id: bytes) -> int:
        """All that was ever deposited, on the mirrored chain."""
        return int(await asked(self.database.fetchval(SQL["deposited"], channel_id)))

    async def begin_deposit(self, payment: bytes, channel_id: bytes, before: int) -> int | None:
        """`before`: what was deposited until now. None when this payment came before."""
        question = (SQL["begin_deposit"], payment, channel_id, before)
        begun = await asked(self.database.fetchval(*question))
        return None if begun is None else int(begun)

    async def begun_deposit(self, payment: bytes) -> int:
        """What was deposited before this payment came first."""
        return int(await asked(self.database.fetchval(SQL["begun_deposit"], payment)))

    async def forget(self, older_than_s: float) -> None:
        """Drops answers and deposits that no payer asks for again."""
        for name in ("forget_answers", "forget_deposits"):
            await asked(self.database.execute(SQL[name], older_than_s))
