"""The log of what happened to batches: numbered in Postgres, passed on by Redis.

A *cursor* is a place in it. The numbers of events have no gap, so whoever has read one knows by the
next whether anything is missing, whichever way it came (docs/architecture.md, "The stream").
"""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from corechain.protocol.errors import CursorExpired, CursorUnknown
from corechain.service.database import asked, outages
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn
    from corechain_indexer.store import Asked

NUMBERED_AT_ONCE = 500
PRUNED_AT_ONCE = 10_000
PRUNED_FROM = 1_000
"""Fewer than these are left for later: pruning one by one would cost more than it frees."""
_CURSOR = struct.Struct(">6sIQ")
_CURSOR_TEXT = 24


class Cursor(msgspec.Struct, frozen=True):
    """A place in a log, opaque to whoever holds it: of which log, after which event."""

    generation: bytes
    tag: int
    number: int

    @property
    def text(self) -> str:
        """24 characters of base64url (RFC 4648, section 5)."""
        return urlsafe_b64encode(_CURSOR.pack(self.generation, self.tag, self.number)).decode()

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Raises CursorUnknown."""
        try:
            packed = urlsafe_b64decode(text.encode("ascii")) if len(text) == _CURSOR_TEXT else b""
        except ValueError:
            packed = b""
        if len(packed) != _CURSOR.size:
            raise CursorUnknown("it is no cursor")
        return cls(*_CURSOR.unpack(packed))


class BatchEvent(msgspec.Struct, frozen=True):
    """What is sent of an event. `block`, counts and window are of the batch as it was verified;
    `finality` is of the moment of the event."""

    type: str
    cursor: str
    id: int
    batch_id: int
    commitment: str
    block: int
    block_hash: str
    transaction: str
    readings: int | None
    rejected: int | None
    window_start: int | None
    window_end: int | None
    finality: str


@dataclass(frozen=True, slots=True)
class LogHead:
    """Which log it is, its newest event, and up to which one events may be gone."""

    generation: bytes
    newest: int
    pruned: int


def event_of(row: "Record") -> BatchEvent:
    return BatchEvent(
        type=row["kind"],
        cursor=Cursor(row["generation"], row["tag"], row["id"]).text,
        id=row["id"],
        batch_id=row["batch_id"],
        commitment="0x" + row["commitment"].hex(),
        block=row["block_number"],
        block_hash="0x" + row["block_hash"].hex(),
        transaction="0x" + row["transaction"].hex(),
        readings=row["reading_count"],
        rejected=row["rejected_count"],
        window_start=row["window_start"],
        window_end=row["window_end"],
        finality=row["finality"],
    )


@dataclass(frozen=True, slots=True)
class EventLog:
    """Reads the log. Every method raises StoreUnavailable."""

    database: "Asked"

    async def head(self) -> LogHead:
        row: Any = await asked(self.database.fetchrow(SQL["event_log"]))
        return LogHead(row["generation"], row["newest"], row["pruned"])

    async def after(self, number: int, limit: int) -> list[BatchEvent]:
        rows: Iterable[Record] = await asked(
            self.database.fetch(SQL["events_after"], number, limit)
        )
        return [event_of(row) for row in rows]

    async def cursor(self, number: int) -> Cursor:
        """The place after an event; before the first one there is none, and its tag is 0."""
        head, tag = await self.head(), await self._tag(number)
        return Cursor(head.generation, tag or 0, number)

    async def renew(self) -> None:
        """Makes it another log: its numbers may have been given before."""
        await asked(self.database.execute(SQL["renew_events"]))

    async def _tag(self, number: int) -> int | None:
        tag: int | None = await asked(self.database.fetchval(SQL["event_tag"], number))
        return tag

    async def require(self, cursor: Cursor) -> None:
        """Raises CursorUnknown for one of another log, CursorExpired where events after it are
        gone."""
        head = await self.head()
        require_known(cursor, head)
        if cursor.number < head.pruned:
            raise CursorExpired((await self.cursor(head.newest)).text)
        # The events up to `pruned` are gone, and so are their tags.
        tag = await self._tag(cursor.number)
        if cursor.number > head.pruned and tag != cursor.tag:
            raise CursorUnknown("it is of another history")


def require_known(cursor: Cursor, head: LogHead) -> None:
    """Raises CursorUnknown."""
    if cursor.generation != head.generation:
        raise CursorUnknown("it is of another log: another index, or one that was made anew")
    if cursor.number > head.newest:
        raise CursorUnknown("nothing has come so far")


@dataclass(frozen=True, slots=True)
class EventNumbers:
    """Numbers what has happened; `keep` events at least. The connection holds the lock of the one
    that does: who lost it cannot write either."""

    connection: "Conn"
    keep: int

    async def step(self) -> bool:
        """One transaction. True when there was anything. Raises StoreUnavailable."""
        with outages():
            async with self.connection.transaction():
                happened = await self.connection.fetch(
                    SQL["number_announcements"], NUMBERED_AT_ONCE
                )
                await self._close(happened)
                final = await self.connection.fetch(SQL["number_finals"], NUMBERED_AT_ONCE)
                if happened or final:
                    limits = self.keep, PRUNED_AT_ONCE, PRUNED_FROM
                    await self.connection.execute(SQL["prune_events"], *limits)
        return bool(happened or final)

    async def _close(self, happened: "Sequence[Record]") -> None:
        undone = [row["id"] for row in happened if row["kind"] == "undone"]
        if undone:
            await self.connection.execute(SQL["close_undone"], min(undone))
