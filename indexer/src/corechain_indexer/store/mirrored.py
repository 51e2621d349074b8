"""Which chain a database is a mirror of. It says so itself: URLs that differ may lead to the same
database (a name and its address, a pooler and what is behind it)."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from corechain.service.database import START_S, asked, connect, hang_up
from corechain.service.errors import StoreUnavailable, WrongDatabase
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from corechain_indexer.store import Asked


async def check_mirrored(asks: "Asked", chain_id: int, registry: bytes) -> None:
    """Claims a database that is no mirror yet. Raises WrongDatabase for one of another chain, or of
    another `registry` (20 bytes) there; StoreUnavailable."""
    # Of two that come first one inserts: the other one waits for it, and then reads its row.
    await asked(asks.execute(SQL["claim_mirrored"], chain_id, registry))
    await _compare(asks, chain_id, registry)


async def claim(url: str, chain_id: int, registry: bytes) -> None:
    """`check_mirrored` on a connection of its own: not a pooler's, which may be away while the
    database itself is there. Raises as it does."""
    connection = await connect(url)
    try:
        await check_mirrored(connection, chain_id, registry)
    finally:
        await hang_up(connection)


async def check_mirrored_at_start(url: str, chain_id: int, registry: bytes) -> None:
    """As `check_mirrored`, without a claim. One that does not answer now, or is older, is asked
    again when its tables are of this version. Raises WrongDatabase."""
    with suppress(StoreUnavailable, TimeoutError):  # a table that is missing is one too
        async with asyncio.timeout(START_S):
            connection = await connect(url)
            try:
                await _compare(connection, chain_id, registry)
            finally:
                await hang_up(connection)


async def _compare(asks: "Asked", chain_id: int, registry: bytes) -> None:
    row = await asked(asks.fetchrow(SQL["mirrored"]))
    if row is not None and (row["chain_id"], row["registry"]) != (chain_id, registry):
        raise WrongDatabase(
            f"DATABASE_URL: this database mirrors chain {row['chain_id']:f} with the registry "
            f"0x{row['registry'].hex()}, not chain {chain_id} with 0x{registry.hex()}: each needs "
            "a database of its own, or `corechain indexer rebuild`"
        )


async def forget_mirrored(asks: "Asked") -> None:
    """What is mirrored next may be another chain. Raises StoreUnavailable."""
    await asked(asks.execute(SQL["forget_mirrored"]))
