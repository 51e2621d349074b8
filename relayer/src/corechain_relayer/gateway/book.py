"""The gateway's memory of sequences: journal, then what is still on the bus, then its own.

It only spares devices and aggregator a duplicate. Correctness does not rest on it: the aggregator
looks again, against the journal.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from corechain.protocol.reading import DeviceId, SignedReport
from corechain.service.errors import StoreUnavailable
from corechain_relayer.bus.frame import MalformedFrame, unpack_frame
from corechain_relayer.sequences import GATEWAY_WIDTH, SequenceWindow

log = structlog.get_logger(__name__)


class SequenceStore(Protocol):
    """Where committed sequences are kept."""

    async def sequences(self, devices: Iterable[DeviceId]) -> Mapping[DeviceId, SequenceWindow]:
        """Windows of those devices that have one. Raises StoreUnavailable."""


@dataclass(slots=True)
class SequenceBook:
    """Windows by device; at most one for each registered device."""

    store: SequenceStore
    _windows: dict[DeviceId, SequenceWindow] = field(default_factory=dict)
    _loaded: set[DeviceId] = field(default_factory=set)

    async def seed(self, backlog: AsyncIterator[bytes]) -> None:
        """Marks what is durable on the bus, so that a restart refuses its replays."""
        async for payload in backlog:
            try:
                self.mark(unpack_frame(payload).reports)
            except MalformedFrame as error:
                log.warning("frame on the bus is unreadable", error=str(error))

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
        for device, window in stored.items():
            self._windows[device] = self.window(device).merged(window, GATEWAY_WIDTH)
        self._loaded |= missing

    def window(self, device: DeviceId) -> SequenceWindow:
        return self._windows.get(device, SequenceWindow())

    def mark(self, reports: Iterable[SignedReport]) -> None:
        """Call it after the reports are durable: what is only under way may still be lost."""
        for signed in reports:
            device, sequence = signed.report.device, signed.report.sequence
            window = self.window(device)
            if window.newest - sequence <= GATEWAY_WIDTH:
                self._windows[device] = window.with_seen(sequence, GATEWAY_WIDTH)
