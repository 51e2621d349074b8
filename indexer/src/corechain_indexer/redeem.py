"""Turns the vouchers that were paid with into tokens: one transaction for all of them."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from corechain.account import account_from_key
from corechain.chain import Chain
from corechain.protocol.channel import ChannelConfig
from corechain.service.database import asked, connect
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from asyncpg import Record

AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What one run has redeemed; amounts in base units."""

    vouchers: int
    queries: int
    amount: int
    transaction: str | None
    gas_used: int

    def summary(self) -> dict[str, object]:
        return {
            "vouchers": self.vouchers,
            "queries": self.queries,
            "amount": str(self.amount),
            "transaction": self.transaction,
            "gas_used": self.gas_used,
        }


def config_of(stored: bytes) -> ChannelConfig:
    fields: dict[str, Any] = json.loads(stored)
    delay = int(fields.pop("withdraw_delay"))
    return ChannelConfig(
        **{name: bytes.fromhex(text) for name, text in fields.items()}, withdraw_delay_s=delay
    )


async def open_vouchers(database_url: str) -> list["Record"]:
    """Vouchers worth more than what the mirrored chain says is claimed."""
    connection = await connect(database_url)
    try:
        return await asked(connection.fetch(SQL["vouchers"], AT_ONCE))
    finally:
        await connection.close()


def redeem(chain: Chain, secret: str, rows: list["Record"]) -> Redeemed:
    """Redeems them on chain. Raises the contract's error by its name, ChainUnavailable."""
    if not rows:
        return Redeemed(0, 0, 0, None, 0)
    rows_of_call = [
        (config_of(row["config"]), int(row["amount"]), row["signature"]) for row in rows
    ]
    receipt = chain.redeem(account_from_key(secret), rows_of_call)
    return Redeemed(
        len(rows),
        sum(row["queries"] for row in rows),
        sum(int(row["amount"]) - int(row["claimed"]) for row in rows),
        "0x" + bytes(receipt["transactionHash"]).hex(),
        receipt["gasUsed"],
    )
