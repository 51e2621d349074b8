"""What a gateway knows of a lane's sequences: from the journal, the bus, and its own appends.

It spares devices and aggregator most repetitions, and names a conflict while its device listens.
Counting does not rest on it: the aggregator looks again, against the journal.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import filterfalse
from typing import Protocol

import numpy as np
import structlog

from corechain.protocol.columns import Bits, Places, words
from corechain.protocol.errors import StaleSequence, Unavailable
from corechain.protocol.frame import Columns
from corechain.protocol.reading import U64_MAX, DeviceId, Report
from corechain.service.errors import StoreUnavailable
from corechain.service.seldom import Seldom
from corechain_relayer.bus.base import Delivery
from corechain_relayer.bus.frame import MalformedFrame, open_frame
from corechain_relayer.gateway.remembered import Remembered
from corechain_relayer.sequences import (
    FREE_UP_TO,
    Seen,
    SequenceWindow,
    check_reach,
    content_digest,
)

log = structlog.get_logger(__name__)

Key = tuple[DeviceId, int]


class SequenceStore(Protocol):
    """Where committed sequences are kept. Raises StoreUnavailable."""

    async def sequences(self, devices: Iterable[DeviceId]) -> Mapping[DeviceId, SequenceWindow]:
        """Windows of those devices that have one."""

    async def digests(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        """What sequences were used for, where that is known."""


class Verdict(Enum):
    NEW = "new"
    SAME = "same"
    """This very report was seen."""
    OTHER = "other"
    """Another report with this sequence was seen."""
    UNSURE = "unsure"
    """The sequence was seen; for which report is not known here."""


@dataclass(slots=True)
class SequenceBook:
    """Devices of one lane; at most one entry for each registered device."""

    store: SequenceStore
    remembered: Remembered = field(default_factory=Remembered)
    seldom: Seldom = field(default_factory=Seldom)
    _loaded: set[DeviceId] = field(default_factory=set)
    _read_up_to: str = "0"
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    # ------------------------------------------------------------------ learning

    async def load(self, devices: Iterable[DeviceId]) -> None:
        """Fetches the committed windows of devices not met before; an outage is survived."""
        missing = set(filterfalse(self._loaded.__contains__, devices))  # nearly always none
        if not missing:
            return
        try:
            stored = await self.store.sequences(missing)
        except StoreUnavailable as error:
            self._unknown(error)
            return
        self._merge(stored)
        self._loaded |= missing

    def _unknown(self, error: StoreUnavailable) -> None:
        """Of each append, as long as the journal is away."""
        what = "committed sequences unknown"
        self.seldom.say(log.warning, what, error.name, error=str(error))

    def _merge(self, stored: Mapping[DeviceId, SequenceWindow]) -> None:
        for device, window in stored.items():
            self.remembered.learn(device, window)

    async def read_on(self, backlog: "Backlog") -> None:
        """Marks what has come to the bus since the last time, from any gateway."""
        async with self._lock:
            async for page in backlog(self._read_up_to):
                for columns in await asyncio.to_thread(_columns_of, page):
                    self.mark(columns)
                self._read_up_to = page[-1].id if page else self._read_up_to

    async def look_up(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        """What is committed by now under these sequences, and the windows of their devices.

        Call it after `read_on`: what a batch has taken from the bus in between is in the journal.
        Nothing when the journal is away: then the aggregator decides.
        """
        devices = {device for device, _ in keys}
        try:
            self._merge(await self.store.sequences(devices))
            digests = await self.store.digests(keys)
        except StoreUnavailable as error:
            self._unknown(error)
            return {}
        self._loaded |= devices
        return digests

    def mark(self, columns: Columns, rows: Places | None = None) -> None:
        """Call it after the reports are durable: what is only under way may still be lost. `rows`
        as `rows_of` has found them, where somebody has asked."""
        self.remembered.mark(columns, rows)

    # ------------------------------------------------------------------ asking

    def has_loaded(self, devices: Iterable[DeviceId]) -> bool:
        """Whether the journal need not be asked for any of them."""
        return self._loaded.issuperset(devices)

    def rows_of(self, columns: Columns) -> Places:
        """Where what is known of each report's device is."""
        return self.remembered.rows_of(columns.device_ids())

    def are_newest(self, columns: Columns, rows: Places) -> Bits:
        """Which reports are above all that is known of their devices, and within reach for certain.
        Below the newest one may be new, too, but there the bus has to be asked closely anyway."""
        following = self.remembered.following_of(rows)
        sequences = words(columns.sequences)
        in_reach = np.where(sequences > following, sequences <= FREE_UP_TO, sequences < U64_MAX)
        newest: Bits = (sequences >= following) & in_reach
        return newest

    def look(self, report: Report, sealed: Mapping[Key, bytes]) -> Verdict:
        """Raises StaleSequence, SequenceOutOfReach; Unavailable when the journal has to tell."""
        device, sequence = report.device, report.sequence
        newest = self.remembered.newest(device)
        self._check_reach(report, newest)
        seen = self.remembered.look(device, sequence)
        if seen is Seen.STALE:
            raise StaleSequence(device, sequence, newest)
        if seen is Seen.NEW:
            return Verdict.NEW
        digest = self.remembered.digest(device, sequence) or sealed.get((device, sequence))
        if digest is None:
            return Verdict.UNSURE
        return Verdict.SAME if digest == content_digest(report) else Verdict.OTHER

    def _check_reach(self, report: Report, newest: int) -> None:
        if newest + 1 < report.sequence > FREE_UP_TO and report.device not in self._loaded:
            raise Unavailable("whether this sequence is within reach is not known at the moment")
        check_reach(report.device, report.sequence, newest)


class Backlog(Protocol):
    """A lane's frames after an id, in pages. Raises BusUnavailable."""

    def __call__(self, after: str) -> AsyncIterator[list[Delivery]]: ...


def _columns_of(page: Sequence[Delivery]) -> list[Columns]:
    found: list[Columns] = []
    for delivery in page:
        try:
            found.append(open_frame(delivery.payload).columns)
        except MalformedFrame as error:
            log.warning("frame on the bus is unreadable", error=str(error))
    return found
