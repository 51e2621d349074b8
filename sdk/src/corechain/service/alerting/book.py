"""Alerts and the messages about them, in Postgres: written together, by one at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.service.database import asked
from corechain.service.sql import queries

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn, Database

SQL = queries(__package__)
MOST_WEBHOOKS = 10_000
"""Of a receiver; the oldest go. Who was away for so long reads the newest state from the API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that an operator wants to know while it lasts. `key`: what it is about."""

    kind: str
    key: str
    summary: str
    details: str
    """JSON."""


@dataclass(frozen=True, slots=True)
class AlertBook:
    """Every method raises StoreUnavailable. The connection holds the alerts' lock."""

    connection: "Conn"
    prefix: str = ""
    """How the keys of its alerts begin, where several watchers share the tables."""

    async def open(self) -> "Sequence[Record]":
        """`id`, `kind`, `key`, `fired` of what has begun and is not over."""
        return await asked(self.connection.fetch(SQL["open_alerts"], self.prefix))

    async def change(
        self, begun: Sequence[Condition], over: Sequence[int], after_s: Mapping[str, float]
    ) -> "tuple[Sequence[Record], Sequence[Record]]":
        """Those that fire now, and those that are resolved. Within a transaction of the caller's,
        so that it can add their messages."""
        rows = [(item.kind, item.key, item.summary, item.details) for item in begun]
        await self.connection.executemany(SQL["begin_alert"], rows)
        resolved = await self.connection.fetch(SQL["resolve_alerts"], list(over))
        await self.connection.execute(SQL["drop_alerts"], list(over))
        kinds = list(after_s), list(after_s.values())
        fired = await self.connection.fetch(SQL["alerts_to_fire"], *kinds)
        await self.connection.execute(SQL["forget_alerts"])
        return fired, resolved

    async def add(self, target: bytes, bodies: Sequence[bytes]) -> None:
        await self.connection.executemany(SQL["add_webhook"], [(target, body) for body in bodies])
        await self.connection.execute(SQL["trim_webhooks"], target, MOST_WEBHOOKS)

    async def keep_only(self, targets: Sequence[bytes], older_s: float) -> None:
        """Forgets what was meant for receivers that are no more, once it is so old."""
        await asked(self.connection.execute(SQL["forget_webhooks"], list(targets), older_s))


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Messages to one receiver, the oldest first. Every method raises StoreUnavailable."""

    database: "Database | Conn"
    target: bytes

    async def next(self, oldest_s: float) -> "Record | None":
        """`id`, `body`, `attempts`, `expired` of the one that is due."""
        query = SQL["next_webhook"]
        return await asked(self.database.fetchrow(query, self.target, oldest_s))

    async def failed(self, row_id: int, pause_s: float) -> None:
        await asked(self.database.execute(SQL["webhook_failed"], row_id, pause_s))

    async def done(self, row_id: int) -> None:
        await asked(self.database.execute(SQL["webhook_done"], row_id))
