"""Alerts and the messages that tell them, in Postgres: written together, by one at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.service.database import asked
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn
    from corechain_indexer.store import Asked

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
class Facts:
    """What the rules ask the database. Every method raises StoreUnavailable."""

    database: "Asked"

    async def unverified(self, limit: int, known: Sequence[int]) -> "Sequence[Record]":
        """`batch_id`, `state`, `reason` of the first ones, and of those known that still are."""
        return await asked(self.database.fetch(SQL["unverified_batches"], limit, list(known)))

    async def rollbacks(self, blocks: int) -> "Sequence[Record]":
        return await asked(self.database.fetch(SQL["deep_rollbacks"], blocks))

    async def challenges(
        self, after: int, before: int, parties: Sequence[bytes] | None
    ) -> "Sequence[Record]":
        arguments = after, before, None if parties is None else list(parties)
        return await asked(self.database.fetch(SQL["challenges_due"], *arguments))

    async def wrong_roots(self) -> "Sequence[Record]":
        return await asked(self.database.fetch(SQL["wrong_roots"]))


@dataclass(frozen=True, slots=True)
class AlertBook:
    """Every method raises StoreUnavailable. The connection holds the alerts' lock."""

    connection: "Conn"

    async def open(self) -> "Sequence[Record]":
        """`id`, `kind`, `key`, `fired` of what has begun and is not over."""
        return await asked(self.connection.fetch(SQL["open_alerts"]))

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

    async def keep_only(self, targets: Sequence[bytes]) -> None:
        """Forgets what was meant for receivers that are no more."""
        await asked(self.connection.execute(SQL["forget_webhooks"], list(targets)))


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Messages to one receiver, the oldest first. Every method raises StoreUnavailable."""

    database: "Asked"
    target: bytes

    async def next(self, oldest_s: float) -> "Record | None":
        """`id`, `body`, `attempts`, `expired` of the one that is due."""
        query = SQL["next_webhook"]
        return await asked(self.database.fetchrow(query, self.target, oldest_s))

    async def failed(self, row_id: int, pause_s: float) -> None:
        await asked(self.database.execute(SQL["webhook_failed"], row_id, pause_s))

    async def done(self, row_id: int) -> None:
        await asked(self.database.execute(SQL["webhook_done"], row_id))
