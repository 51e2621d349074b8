"""Spans of time whose downsampled points have to be made anew, for one series database."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.service.database import asked, outages
from corechain_indexer.store import SQL
from corechain_indexer.store.points import Span

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn

AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class StaleSpans:
    """Every method raises StoreUnavailable. The connection holds the sink's lock."""

    connection: "Conn"
    sink: str

    async def target(self) -> str:
        """Which downsampled buckets were filled last, as a digest; empty for none."""
        return str(await asked(self.connection.fetchval(SQL["downsampled_target"], self.sink)))

    async def begin_anew(self, target: str, every_s: int) -> None:
        """All readings are to be downsampled into `target`, from the windows of `every_s` on."""
        with outages():
            async with self.connection.transaction():
                await self.connection.execute(SQL["forget_all_stale"], self.sink)
                await self.connection.execute(SQL["mark_all_stale"], self.sink, every_s)
                await self.connection.execute(SQL["set_downsampled_target"], self.sink, target)

    async def forget(self) -> None:
        """Nothing is downsampled, or all of it anew when it is next."""
        await asked(self.connection.execute(SQL["forget_stale_of"], self.sink))

    async def mark(self, every_s: int, spans: Sequence[Span], *, vanished: bool) -> None:
        firsts, lasts = [first for first, _ in spans], [last for _, last in spans]
        arguments = (self.sink, every_s, firsts, lasts, vanished)
        await asked(self.connection.execute(SQL["mark_stale"], *arguments))

    async def ended(self, every_s: int, before: int) -> "Sequence[Record]":
        """`id`, `first_at`, `last_at`, `vanished` of spans that lie before a second."""
        return await asked(
            self.connection.fetch(SQL["stale_spans"], self.sink, every_s, before, AT_ONCE)
        )

    async def left(self, before: int) -> int:
        """How many there are of all tiers whose windows had ended before a second."""
        return int(await asked(self.connection.fetchval(SQL["stale_left"], self.sink, before)))

    async def done(
        self, ids: Sequence[int], marks: Sequence[tuple[int, Span]], *, vanished: bool
    ) -> None:
        """Some spans are made anew. What has to follow, (every_s, span), is marked in the same
        transaction: the tier above, and what was not reached."""
        with outages():
            async with self.connection.transaction():
                await self.connection.execute(SQL["forget_stale"], list(ids))
                for every_s, span in marks:
                    await self.mark(every_s, [span], vanished=vanished)
