"""Emits verified batches to InfluxDB, and takes out what a reorg has undone.

A batch is no tag there (decision 0036), so that it cannot be deleted by its id: the seconds of its
readings are erased, of all devices, and what stands in them is written again from Postgres. Every
step may be repeated. Until the outbox is empty, Postgres answers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import structlog

from corechain.service.errors import AccessRefused
from corechain.service.supervision import Pause
from corechain_indexer.downsampling import Downsampling
from corechain_indexer.errors import ArchiveUnavailable, LinesRefused, SeriesUnavailable
from corechain_indexer.metrics import Metrics
from corechain_indexer.store.archive import NO_ARCHIVE, Archive
from corechain_indexer.store.copied import NAME, CopyStore, Refused, name_sinks
from corechain_indexer.store.outbox import Outbox
from corechain_indexer.store.points import LINES, Leaves, Span
from corechain_indexer.store.stale import StaleSpans
from corechain_indexer.store.tiers import MINUTE_S

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn

log = structlog.get_logger(__name__)
LONGEST_PAUSE_S = 300.0
"""A server that wants to be left alone for longer is asked all the same."""

NONE = Refused(0, 0, None)


class Erasable(Protocol):
    """The series database, as the sink needs it. Every method raises SeriesUnavailable."""

    async def target(self) -> str:
        """Which database it is, as a digest."""

    def forget_place(self) -> None:
        """Makes `target` look again."""

    async def write(self, leaves: Leaves) -> None:
        """Adds readings of one batch. Raises LinesRefused when all others are written."""

    async def write_again(self, parts: Sequence[Leaves]) -> None:
        """Adds readings of several batches that were written before. What it refuses of them was
        refused, and noted, then."""

    async def erase(self, spans: Sequence[Span]) -> None:
        """Takes out every point of these seconds."""

    async def clear(self) -> None:
        """Takes out everything."""

    async def close(self) -> None:
        """Hangs up."""


@dataclass(slots=True)
class SeriesSink:
    """Points of verified batches in a time series database; without one, rows just go. `total`:
    how many databases there are, each with a sink; they differ by `name`."""

    series: Erasable | None
    metrics: Metrics
    refused: Refused = NONE
    away: str = ""
    """What keeps the database from being told; empty while nothing does."""
    archive: Archive = NO_ARCHIVE
    name: str = NAME
    total: int = 1
    downsampling: Downsampling | None = None
    _pause: Pause = field(default_factory=Pause)

    @property
    def number(self) -> str:
        """In the order of the settings, from 1: what metrics and sentences name it by."""
        return self.name.removeprefix(NAME).strip() or "1"

    def sentences(self) -> Sequence[str]:
        """For `/ready`: this process does its work, another database or Postgres answers."""
        found, who = [], "InfluxDB" if self.total == 1 else f"InfluxDB {self.number}"
        if self.away:
            found.append(f"{who} is not told what changes: {self.away}")
        if self.refused.readings:
            found.append(
                f"{who} refused {self.refused.readings} readings of {self.refused.batches} "
                f"batches, and is not asked for their time: {self.refused.why}"
            )
        if self.downsampling is not None and self.downsampling.away:
            found.append(
                f"{who}'s downsampled points are not corrected: {self.downsampling.away} "
                "(`corechain indexer influx setup --check` says what is missing)"
            )
        return found

    async def close(self) -> None:
        """Hangs up; whoever reads from the database reads no more."""
        if self.series is not None:
            await self.series.close()

    async def begin(self, connection: "Conn") -> None:
        """Another database than the one that was filled before is filled from the beginning."""
        downsampled = await name_sinks(connection, self.total)
        if self.downsampling is None and self.name in downsampled:
            # What is written from now on is noted nowhere: once turned on again, all is made anew.
            await StaleSpans(connection, self.name).forget()
        if self.series is None:
            await Outbox(connection).retarget(self.name, "")
            return
        store = CopyStore(connection, sink=self.name)
        self.series.forget_place()
        target = await self.series.target()
        if await store.target() != target:
            # Whatever it holds is from another life.
            await self.series.clear()
            if self.downsampling is not None:
                await StaleSpans(connection, self.name).forget()
            await store.begin_anew(target)
        self.refused = await store.refused()

    async def correct(self, connection: "Conn") -> bool:
        """After an outage it may be another database: a bucket that was made anew is empty."""
        if self.away:
            await self.begin(connection)
        return self.downsampling is not None and await self.downsampling.step(connection)

    async def emit(self, connection: "Conn", row: "Record") -> None:
        if self.series is None:
            return
        store = CopyStore(connection, self.archive, self.name)
        if row["kind"] == "retract":
            await self._retract(store, row["batch_id"], await store.retracted(row["id"]))
        elif row["standing"]:
            packed = await store.leaves(row["batch_id"], row["commitment"])
            await self._write(store, Leaves.of(row["batch_id"], packed))

    async def _retract(self, store: CopyStore, batch_id: int, packed: bytes) -> None:
        assert self.series is not None
        spans = Leaves.of(batch_id, packed).spans()
        await self.series.erase(spans)
        await self._mark(store, spans, vanished=True)
        await self._write_again(store, spans)
        await store.forget(batch_id)
        self.refused = await store.refused()

    async def _write_again(self, store: CopyStore, spans: Sequence[Span]) -> None:
        """What stands in these seconds, of many batches in one request: most share a few readings
        with the one that went."""
        assert self.series is not None
        waiting: list[Leaves] = []
        for standing, commitment in await store.standing(spans):
            leaves = Leaves.of(standing, await store.leaves(standing, commitment)).within(spans)
            waiting.append(leaves)
            if sum(len(one.times) for one in waiting) >= LINES:
                await self.series.write_again(waiting)
                waiting = []
        if any(len(one.times) for one in waiting):
            await self.series.write_again(waiting)

    async def _write(self, store: CopyStore, leaves: Leaves) -> None:
        assert self.series is not None
        await self._mark(store, leaves.spans(), vanished=False)
        try:
            await self.series.write(leaves)
        except LinesRefused as error:
            for refusal in error.refusals:
                self.metrics.series_refused.inc(refusal.count)
            log.warning("series refused readings", batch=error.batch_id, why=str(error))
            await store.note(error)
            self.refused = await store.refused()

    async def _mark(self, store: CopyStore, spans: Sequence[Span], *, vanished: bool) -> None:
        """Before or after the write: none of them is looked at before this row is through."""
        if self.downsampling is not None and spans:
            stale = StaleSpans(store.connection, self.name)
            await stale.mark(MINUTE_S, spans, vanished=vanished)

    async def patiently(self, step: Callable[[], Awaitable[bool]]) -> bool:
        """One step of the exporter; an outage of the database, or of an archive that it is filled
        from, is waited for, not an end."""
        try:
            more = await step()
        except (SeriesUnavailable, ArchiveUnavailable) as error:
            if isinstance(error, AccessRefused):
                self.metrics.access_refused.labels(error.setting).inc()
            if str(error) != self.away:
                log.warning("series database not told", why=str(error))
            self.away = str(error)
            self.metrics.series_away.labels(self.number).set(1)
            asked_for = min(getattr(error, "retry_after_s", None) or 0.0, LONGEST_PAUSE_S)
            await asyncio.sleep(max(asked_for, self._pause.next(0.0)))
            return True
        if self.away:
            log.info("series database is back")
        self.away, self._pause = "", Pause()
        self.metrics.series_away.labels(self.number).set(0)
        return more
