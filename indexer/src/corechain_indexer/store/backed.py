"""A series database in front of the segments, which answer whenever the other one cannot."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from corechain.service.database import asked
from corechain_indexer.errors import SeriesUnavailable
from corechain_indexer.store import SQL
from corechain_indexer.store.series import Bucket, SegmentSeries, Series

READ_LIMIT_S = 2.0
AWAY_S = 5.0
"""How long a database that did not answer is not asked again: else each query waits for it."""


class SeriesCopy(Series, Protocol):
    """A database that is told what Postgres holds, and may forget it after a time."""

    async def target(self) -> str:
        """Which database it is, as a digest. Raises SeriesUnavailable."""

    async def kept_s(self) -> int:
        """How long it keeps a reading; 0 for ever. Raises SeriesUnavailable."""


@dataclass(slots=True)
class BackedSeries:
    """Answers from the copy when it has all that is asked for, a retraction above all; else from
    the segments: while the copy is away or slow, has not taken everything, has refused readings of
    the window, or does not keep them so long. `bypassed` gets the reason."""

    copy: SeriesCopy
    segments: SegmentSeries
    bypassed: Callable[[str], None] = lambda reason: None
    clock: Callable[[], float] = time.time
    _away_until: float = 0.0

    async def read(
        self, device: bytes, metric: int, start: int, end: int, bucket_s: int, limit: int
    ) -> Sequence[Bucket]:
        question = (device, metric, start, end, bucket_s, limit)
        try:
            lacks = await self._lacks(start, end)
            if lacks is None:
                async with asyncio.timeout(READ_LIMIT_S):
                    return await self.copy.read(*question)
        except (SeriesUnavailable, TimeoutError):
            self._away_until = time.monotonic() + AWAY_S
            lacks = "away"
        self.bypassed(lacks)
        return await self.segments.read(*question)

    async def _lacks(self, start: int, end: int) -> str | None:
        """Why the copy cannot answer for a window; None when it can.

        Raises SeriesUnavailable, TimeoutError, StoreUnavailable."""
        if time.monotonic() < self._away_until:
            return "away"
        async with asyncio.timeout(READ_LIMIT_S):
            target, kept_s = await self.copy.target(), await self.copy.kept_s()
        reason = await asked(self.segments.pool.fetchval(SQL["series_lacks"], target, start, end))
        if reason:
            return str(reason)
        return "retention" if kept_s and start < self.clock() - kept_s else None
