"""What an operator sees of the queues of transactions, and can do about them. No lock is needed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from corechain.service.database import asked, connect, hang_up
from corechain_relayer.journal.sql import query
from corechain_relayer.transactions.book import Book

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn


@asynccontextmanager
async def _connected(url: str) -> "AsyncIterator[Conn]":
    connection = await connect(url)
    try:
        yield connection
    finally:
        await hang_up(connection)


def _halt(row: "Record") -> dict[str, Any]:
    return {
        "intent": row["key"],
        "kind": row["halt_kind"],
        "reason": row["halt_reason"],
        "since": row["halted_at"].isoformat(),
    }


def _lane(row: "Record", halts: "list[Record]") -> dict[str, Any]:
    oldest = row["waiting_since"]
    return {
        "queue": row["queue"],
        "queued": row["queued"],
        "pending": row["pending"],
        "confirmed": row["confirmed"],
        "waits_for_finality": row["waits_for_finality"],
        "waiting_since": None if oldest is None else oldest.isoformat(),
        "halted": [_halt(halt) for halt in halts if halt["queue"] == row["queue"]],
    }


async def lanes_of(url: str) -> list[dict[str, Any]]:
    """Every queue with something open in it. Raises StoreUnavailable."""
    async with _connected(url) as connection:
        rows = await asked(connection.fetch(query("lanes")))
        halts = await asked(connection.fetch(query("halts"), None))
    return [_lane(row, halts) for row in rows]


async def release_in(url: str, queue: str | None, name: str | None) -> list[str]:
    """Keys of the intents that stood still and are tried again: of a queue, or the one of this
    name, or all. Raises StoreUnavailable, UnknownQueue, UnknownTransaction."""
    async with _connected(url) as connection:
        return await Book(connection).release(queue, name)
