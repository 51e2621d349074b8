"""Series databases in front of the segments, which answer whenever none of them can."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Protocol

from corechain.service.database import asked
from corechain_indexer.errors import SeriesUnavailable
from corechain_indexer.store import SQL
from corechain_indexer.store.copied import sink_name
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
class _Asked:
    """One of the copies, and when it may be asked again."""

    copy: SeriesCopy
    sink: str
    away_until: float = 0.0


@dataclass(slots=True)
class BackedSeries:
    """Answers from a copy that has all that is asked for, a retraction above all; else from the
    segments: while each copy is away or slow, has not taken everything, has refused readings of the
    window, or does not keep them so long. `bypassed` gets the reason of the last one asked."""

    copies: InitVar[Sequence[SeriesCopy]]
    segments: SegmentSeries
    bypassed: Callable[[str], None] = lambda reason: None
    clock: Callable[[], float] = time.time
    asked_in_turn: list[_Asked] = field(init=False)

    def __post_init__(self, copies: Sequence[SeriesCopy]) -> None:
        self.asked_in_turn = [_Asked(copy, sink_name(n)) for n, copy in enumerate(copies)]

    async def read(
        self, device: bytes, metric: int, start: int, end: int, bucket_s: int, limit: int
    ) -> Sequence[Bucket]:
        question = (device, metric, start, end, bucket_s, limit)
        lacks = ""
        for asked_one in list(self.asked_in_turn):
            found = await self._ask(asked_one, *question)
            if not isinstance(found, str):
                self._prefer(asked_one)
                return found
            lacks = found
        self.bypassed(lacks)
        return await self.segments.read(*question)

    def _prefer(self, living: _Asked) -> None:
        """The one that answered is asked first, until it does not."""
        if self.asked_in_turn[0] is not living:
            self.asked_in_turn.remove(living)
            self.asked_in_turn.insert(0, living)

    async def _ask(
        self, one: _Asked, device: bytes, metric: int, start: int, end: int, bucket_s: int,
        limit: int,
    ) -> Sequence[Bucket] | str:  # fmt: skip
        """Its answer, or why it has none. Raises StoreUnavailable."""
        try:
            lacks = await self._lacks(one, start, end)
            if lacks is not None:
                return lacks
            async with asyncio.timeout(READ_LIMIT_S):
                return await one.copy.read(device, metric, start, end, bucket_s, limit)
        except (SeriesUnavailable, TimeoutError):
            one.away_until = time.monotonic() + AWAY_S
            return "away"

    async def _lacks(self, one: _Asked, start: int, end: int) -> str | None:
        """Why a copy cannot answer for a window; None when it can.

        Raises SeriesUnavailable, TimeoutError, StoreUnavailable."""
        if time.monotonic() < one.away_until:
            return "away"
        async with asyncio.timeout(READ_LIMIT_S):
            target, kept_s = await one.copy.target(), await one.copy.kept_s()
        question = SQL["series_lacks"], target, start, end, one.sink
        reason = await asked(self.segments.pool.fetchval(*question))
        if reason:
            return str(reason)
        return "retention" if kept_s and start < self.clock() - kept_s else None
