"""Makes downsampled points anew where readings came late, or were undone (decision 0050).

InfluxDB's own tasks make a window once, when it has ended; what they miss, by a late reading, an
outage or a reorg, nobody makes up there. So the exporter notes in Postgres which spans it has
written or erased, and when no task works on them any more it runs the tasks' Flux for them.
A closed window without such a note is exact.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import structlog

from corechain_indexer.errors import SeriesUnavailable
from corechain_indexer.metrics import Metrics
from corechain_indexer.store.points import Span
from corechain_indexer.store.stale import AT_ONCE, StaleSpans
from corechain_indexer.store.tiers import MINUTE_S, TIERS, Tier, pieces

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn

log = structlog.get_logger(__name__)

SETTLED_S = 600
"""After the end of a window its task has run. It may still be at it, and write an older answer over
a newer one: hence so much longer than a task's offset and the seconds that it takes."""
PASS_S = 300.0
"""Between two passes: a query of one window costs InfluxDB 320 us a series, one of ten 65 a window
and series."""
TURN_S = 5.0
"""New batches wait no longer than this, and one query, for a pass that has much to do."""
FAST_S, SLOW_S = 1.0, 20.0
"""A query that takes less may have twice the windows next time; one that takes more has half: new
batches wait for it, and a server that is slower still would not answer in time."""


class Tiers(Protocol):
    """The downsampled buckets. Every method raises SeriesUnavailable."""

    async def target(self) -> str:
        """Which they are, as a digest."""

    async def clear(self) -> None:
        """Takes out what can be made anew."""

    async def remake(self, tier: Tier, windows: Span, *, vanished: bool) -> int:
        """Makes the windows of [start, stop) anew; how many there were to make."""


@dataclass(frozen=True, slots=True)
class Stale:
    """Neighbouring windows that have to be made anew: [start, stop), and the notes of them."""

    start: int
    stop: int
    ids: tuple[int, ...]
    vanished: bool


def grouped(tier: Tier, rows: "Sequence[Record]") -> list[Stale]:
    """Notes by the windows that they touch; neighbours together. Pure."""
    found: list[Stale] = []
    noted = ((r["first_at"], r["last_at"], r["id"], r["vanished"]) for r in rows)
    for first, last, row_id, vanished in sorted(noted):
        start, stop = tier.windows((first, last))
        if found and start <= found[-1].stop:
            held = found.pop()
            stop, vanished = max(held.stop, stop), held.vanished or vanished
            found.append(Stale(held.start, stop, (*held.ids, row_id), vanished))
        else:
            found.append(Stale(start, stop, (row_id,), vanished))
    return found


@dataclass(slots=True)
class Downsampling:
    """The tiers of one series database. `away`: what keeps them from being made anew; new readings
    are written all the same."""

    tiers: Tiers
    sink: str
    number: str
    metrics: Metrics
    clock: Callable[[], float] = time.time
    settled_s: int = SETTLED_S
    pass_s: float = PASS_S
    away: str = ""
    _next_pass: float = 0.0
    _windows: dict[str, int] = field(default_factory=dict)

    async def step(self, connection: "Conn") -> bool:
        """True while there is more to do at once. Raises StoreUnavailable."""
        if time.monotonic() < self._next_pass:
            return False
        try:
            more = await self._pass(StaleSpans(connection, self.sink))
        except SeriesUnavailable as error:
            if str(error) != self.away:
                log.warning("downsampled points not made", why=str(error))
            self.away, more = str(error), False
        else:
            self.away = ""
        if not more:
            self._next_pass = time.monotonic() + self.pass_s
        return more

    async def _pass(self, stale: StaleSpans) -> bool:
        now = int(self.clock()) - self.settled_s
        self.metrics.series_stale.labels(self.number).set(await stale.left(now))
        target = await self.tiers.target()
        if await stale.target() != target:
            # Whatever they hold may be of another life, or lack what was written before them.
            await self.tiers.clear()
            await stale.begin_anew(target, MINUTE_S)
        until, more = time.monotonic() + TURN_S, False
        for tier in TIERS:
            rows = await stale.ended(tier.every_s, now - now % tier.every_s)
            for group in grouped(tier, rows):
                if not await self._remake(stale, tier, group, until):
                    return True
            more = more or len(rows) == AT_ONCE
        self.metrics.series_stale.labels(self.number).set(await stale.left(now))
        return more

    async def _remake(self, stale: StaleSpans, tier: Tier, group: Stale, until: float) -> bool:
        """False when time is up: what is left of the group is noted again."""
        at = group.start
        while at < group.stop and (at == group.start or time.monotonic() < until):
            at = await self._query(tier, at, group)
        above = [one for one in TIERS if one.every_s > tier.every_s][:1]
        marks = [(one.every_s, (group.start, at - 1)) for one in above]
        if at < group.stop:
            marks.append((tier.every_s, (at, group.stop - 1)))
        await stale.done(group.ids, marks, vanished=group.vanished)
        return at >= group.stop

    async def _query(self, tier: Tier, at: int, group: Stale) -> int:
        """Makes some windows anew; where the next ones begin."""
        windows = self._windows.get(tier.suffix, tier.first)
        start, stop = next(pieces(at, group.stop, windows * tier.every_s))
        began = time.monotonic()
        # Should it fail, as by a timeout: with fewer the next time.
        self._windows[tier.suffix] = max(1, windows // 2)
        await self.tiers.remake(tier, (start, stop), vanished=group.vanished)
        took_s = time.monotonic() - began
        if took_s < SLOW_S:
            longer = 2 if took_s < FAST_S else 1
            self._windows[tier.suffix] = min(tier.most, windows * longer)
        return stop
