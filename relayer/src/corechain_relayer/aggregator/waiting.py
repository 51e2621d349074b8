"""Frames with a device that our node does not know yet: they wait, and hold up nobody.

A registration that the gateway has seen may reach our node later. A frame that waits stays on the
bus, unacknowledged, so a crash loses nothing of it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from corechain.protocol.reading import DeviceId
from corechain_relayer.aggregator.checks import Opened
from corechain_relayer.aggregator.devices import device_ids

MOST_FRAMES = 1_024
"""That wait in memory: of 500 reports with one observation each they are 60 MB."""
Strangers = Callable[[Iterable[DeviceId]], set[DeviceId]]
"""Those of some devices that are not known."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    since: float
    opened: Opened
    devices: set[DeviceId]
    missing: set[DeviceId]
    """Those that were not known when it was looked at last: only they are asked for again."""


@dataclass(slots=True)
class WaitingFrames:
    """In order of arrival. Times in seconds, any origin."""

    patience_s: float
    _frames: list[_Waiting] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._frames)

    def strangers(self) -> set[DeviceId]:
        """The devices that are waited for."""
        return set().union(*(frame.missing for frame in self._frames))

    def sort(self, frames: Iterable[Opened], strangers: Strangers, now: float) -> list[Opened]:
        """Those whose devices are all known, oldest first; the others wait. None overtakes an
        earlier frame with a device of its own that waits: its order is the order of its values."""
        before, self._frames = self._frames, []
        blocked: set[DeviceId] = set()
        known = []
        for frame in before:
            missing = strangers(frame.missing)
            if missing or not blocked.isdisjoint(frame.devices):
                blocked |= frame.devices
                self._frames.append(replace(frame, missing=missing))
            else:
                known.append(frame.opened)
        for opened in frames:
            if opened.rows is not None and not blocked:
                known.append(opened)  # nearly always
                continue
            devices = device_ids(opened.columns)
            missing = strangers(devices)
            if missing or not blocked.isdisjoint(devices):
                blocked.update(devices)
                # Until it is looked at again, the table may have forgotten some of them.
                waits = replace(opened, rows=None)
                self._frames.append(_Waiting(now, waits, set(devices), missing))
            else:
                known.append(opened)
        return known

    def overdue(self, now: float) -> list[Opened]:
        """Takes out those that have waited for too long, or are too many."""
        count = max(0, len(self._frames) - MOST_FRAMES)
        while count < len(self._frames) and self._frames[count].since + self.patience_s <= now:
            count += 1
        taken, self._frames = self._frames[:count], self._frames[count:]
        return [frame.opened for frame in taken]
