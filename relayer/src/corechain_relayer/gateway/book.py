"""What a gateway knows of a lane's sequences: from the journal, the bus, and its own appends.

It spares devices and aggregator most repetitions, and names a conflict while its device listens.
Counting does not rest on it: the aggregator looks again, against the journal.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import structlog

from corechain.protocol.errors import StaleSequence, Unavailable
from corechain.protocol.frame import Columns, content_digests
from corechain.protocol.reading import U64_MAX, DeviceId, Report
from corechain.service.errors import StoreUnavailable
from corechain_relayer.bus.base import Delivery
from corechain_relayer.bus.frame import MalformedFrame, open_frame
from corechain_relayer.sequences import (
    DIGEST_BYTES,
    FREE_UP_TO,
    GATEWAY_WIDTH,
    Seen,
    SequenceWindow,
    check_reach,
    content_digest,
)

log = structlog.get_logger(__name__)

RECENT = 32
"""So many contents a device are remembered: retries come soon. Older ones are in the journal."""
_SLOT = 4 + DIGEST_BYTES

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


_ALL_BITS = (1 << GATEWAY_WIDTH + 1) - 1


@dataclass(slots=True)
class _Device:
    """A device's window, and a ring of what its last sequences were used for.

    The window is `SequenceWindow` with its two numbers at hand: each report passes here, and an
    object for each would cost more than the rest.
    """

    newest: int = -1
    bits: int = 0
    ring: bytearray = field(default_factory=bytearray)

    @property
    def window(self) -> SequenceWindow:
        return SequenceWindow(self.newest, self.bits)

    def learn(self, other: SequenceWindow) -> None:
        merged = self.window.merged(other, GATEWAY_WIDTH)
        self.newest, self.bits = merged.newest, merged.bits

    def mark(self, sequence: int, digest: bytes) -> None:
        if not self._see(sequence):
            return  # the first report under a sequence is the one that counts
        if not self.ring:
            self.ring = bytearray(RECENT * _SLOT)
        start = self._start(sequence)
        self.ring[start : start + _SLOT] = _tag(sequence) + digest

    def _see(self, sequence: int) -> bool:
        """Whether it is new; it is no more afterwards."""
        ahead = sequence - self.newest
        if ahead > 0:
            kept = self.bits << ahead if ahead <= GATEWAY_WIDTH else 0
            self.newest, self.bits = sequence, (kept | 1) & _ALL_BITS
            return True
        if -ahead > GATEWAY_WIDTH or self.bits >> -ahead & 1:
            return False
        self.bits |= 1 << -ahead
        return True

    def digest(self, sequence: int) -> bytes | None:
        start = self._start(sequence)
        slot = self.ring[start : start + _SLOT]
        return bytes(slot[4:]) if slot[:4] == _tag(sequence) and any(slot[4:]) else None

    @staticmethod
    def _start(sequence: int) -> int:
        return sequence % RECENT * _SLOT


def _tag(sequence: int) -> bytes:
    """Tells apart the sequences that share a slot: 2^32 of one device do not come so soon."""
    return (sequence // RECENT & 0xFFFFFFFF).to_bytes(4, "big")


@dataclass(slots=True)
class SequenceBook:
    """Devices of one lane; at most one entry for each registered device."""

    store: SequenceStore
    _devices: dict[DeviceId, _Device] = field(default_factory=dict)
    _loaded: set[DeviceId] = field(default_factory=set)
    _read_up_to: str = "0"
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    # ------------------------------------------------------------------ learning

    async def load(self, devices: set[DeviceId]) -> None:
        """Fetches the committed windows of devices not met before; an outage is survived."""
        missing = devices - self._loaded
        if not missing:
            return
        try:
            stored = await self.store.sequences(missing)
        except StoreUnavailable as error:
            log.warning("committed sequences unknown", error=str(error))
            return
        self._merge(stored)
        self._loaded |= missing

    def _merge(self, stored: Mapping[DeviceId, SequenceWindow]) -> None:
        for device, window in stored.items():
            self._devices.setdefault(device, _Device()).learn(window)

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
            log.warning("committed sequences unknown", error=str(error))
            return {}
        self._loaded |= devices
        return digests

    def mark(self, columns: Columns) -> None:
        """Call it after the reports are durable: what is only under way may still be lost."""
        devices, digests = self._devices, content_digests(columns)
        keys = zip(columns.device_ids(), columns.sequences, strict=True)
        for at, (device, sequence) in enumerate(keys):
            entry = devices.get(device)
            if entry is None:
                entry = devices[device] = _Device()
            entry.mark(sequence, digests[DIGEST_BYTES * at : DIGEST_BYTES * (at + 1)])

    # ------------------------------------------------------------------ asking

    def has_loaded(self, devices: Iterable[DeviceId]) -> bool:
        """Whether the journal need not be asked for any of them."""
        return self._loaded.issuperset(devices)

    def is_newest(self, device: DeviceId, sequence: int) -> bool:
        """Whether it is above all that is known of the device, and within reach for certain. Below
        the newest it may be new, too, but there the bus has to be asked closely anyway."""
        newest = self._devices.get(device, _UNKNOWN).newest
        return newest < sequence <= (FREE_UP_TO if sequence > newest + 1 else U64_MAX - 1)

    def look(self, report: Report, sealed: Mapping[Key, bytes]) -> Verdict:
        """Raises StaleSequence, SequenceOutOfReach; Unavailable when the journal has to tell."""
        device, sequence = report.device, report.sequence
        entry = self._devices.get(device, _UNKNOWN)
        self._check_reach(report, entry.window.newest)
        seen = entry.window.look(sequence, GATEWAY_WIDTH)
        if seen is Seen.STALE:
            raise StaleSequence(device, sequence, entry.window.newest)
        if seen is Seen.NEW:
            return Verdict.NEW
        digest = entry.digest(sequence) or sealed.get((device, sequence))
        if digest is None:
            return Verdict.UNSURE
        return Verdict.SAME if digest == content_digest(report) else Verdict.OTHER

    def _check_reach(self, report: Report, newest: int) -> None:
        if newest + 1 < report.sequence > FREE_UP_TO and report.device not in self._loaded:
            raise Unavailable("whether this sequence is within reach is not known at the moment")
        check_reach(report.device, report.sequence, newest)


_UNKNOWN = _Device()


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
