"""Frames with a device that our node does not know yet: they wait, and hold up nobody.

A registration that the gateway has seen may reach our node later. A frame that waits stays on the
bus, unacknowledged, so a crash loses nothing of it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from corechain.protocol.reading import DeviceId
from corechain_relayer.aggregator.checks import Opened
from corechain_relayer.aggregator.devices import device_ids

MOST_FRAMES = 1_024
"""That wait in memory: of 500 reports with one observation each they are 60 MB."""
Strangers = Callable[[Iterable[DeviceId]], set[DeviceId]]
"""Those of some devices that are not known."""


@dataclass(slots=True)
class WaitingFrames:
    """In order of arrival. Times in seconds, any origin."""

    patience_s: float
    _frames: list[tuple[float, Opened]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._frames)

    def sort(self, frames: Iterable[Opened], strangers: Strangers, now: float) -> list[Opened]:
        """Those whose devices are all known, oldest first; the others wait. None overtakes an
        earlier frame with a device of its own that waits: its order is the order of its values."""
        before, self._frames = self._frames, []
        missing: set[DeviceId] = set()
        known = []
        for since, opened in [*before, *((now, opened) for opened in frames)]:
            devices = device_ids(opened.columns)
            if not missing.isdisjoint(devices) or strangers(devices):
                missing.update(devices)
                self._frames.append((since, opened))
            else:
                known.append(opened)
        return known

    def overdue(self, now: float) -> list[Opened]:
        """Takes out those that have waited for too long, or are too many."""
        count = max(0, len(self._frames) - MOST_FRAMES)
        while count < len(self._frames) and self._frames[count][0] + self.patience_s <= now:
            count += 1
        taken, self._frames = self._frames[:count], self._frames[count:]
        return [opened for _, opened in taken]
