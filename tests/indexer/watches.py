"""The alerts of an index, looked at by hand."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from corechain.service.alerting.alerts import Alerts
from corechain.service.alerting.sender import target_of
from corechain.service.database import connect
from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain.service.rpc import Block
from corechain_indexer.alerts import Limits, Rules
from indexer.event_books import Books, books_on

OFF = ("silent_s", "unverified_s", "lag_blocks", "node_away_s", "reorg_blocks", "deadline_s")
LIMITS = Limits(**dict.fromkeys(OFF, 0), parties=())
DEVICE, NOW, CELL = b"\x07" * 20, 1_700_000_000, 0x872A1072BFFFFFF


@dataclass
class Node:
    """A node at a block, or away."""

    number: int = 0
    is_away: bool = False
    refuses: bool = False

    async def head(self) -> Block:
        if self.is_away:
            raise NodeUnavailable("away")
        if self.refuses:
            raise NodeRefused("eth_getBlockByNumber", -32000, "no such key")
        return Block(self.number, bytes(32), bytes(32), NOW, 0)


@dataclass
class Watch:
    """The alerts of an index, looked at by hand."""

    books: Books
    url: str
    database: str
    limits: Limits
    node: Node = field(default_factory=Node)
    targets: tuple[str, ...] = ("http://receiver",)

    async def look(self) -> None:
        """As another process would: nothing in memory."""
        connection = await connect(self.database)
        try:
            rules = Rules(self.books.pool, self.node, self.limits, lambda: NOW)
            targets = [target_of(url) for url in self.targets]
            await Alerts(connection, rules, targets, 31337, lambda *_: None).step()
        finally:
            await connection.close()

    async def told(self) -> list[tuple[str, str, str]]:
        rows = await self.books.pool.fetch("select body from webhook order by id")
        said = [json.loads(row["body"]) for row in rows]
        return [(item["type"], item["alert"], item["key"]) for item in said]


@asynccontextmanager
async def watching(database: str, redis_url: str, **limits: Any) -> AsyncIterator[Watch]:
    async with books_on(database, redis_url) as books:
        yield Watch(books, "", database, replace(LIMITS, **limits))
