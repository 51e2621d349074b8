"""What a process knows of a lane's log: its size, and its devices' newest sequences. Pure.

Kafka appends whatever it is sent: it compares no sequences and counts no bytes. So every writer
knows the log up to an offset: of its own frames from their acknowledgements, of others' by reading.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field

from corechain.protocol.reading import DeviceId
from corechain_relayer.bus.room import FRAME_OVERHEAD

Spans = Mapping[DeviceId, tuple[int, int]]


@dataclass(slots=True)
class LaneIndex:
    """From `first` up to, without, `known`."""

    first: int
    newest: dict[DeviceId, int] = field(default_factory=dict)
    _before: "array[int]" = field(default_factory=lambda: array("Q", [0]))
    """Bytes before the frame at `first`, and before each one after it; the last: before `known`."""

    @property
    def known(self) -> int:
        return self.first + len(self._before) - 1

    @property
    def appended(self) -> int:
        """Bytes of all frames known, those forgotten included."""
        return self._before[-1]

    def before(self, offset: int) -> int:
        """Bytes before the frame at an offset; of one not known the nearest that is."""
        return self._before[min(max(0, offset - self.first), len(self._before) - 1)]

    def learn(self, offset: int, content_bytes: int) -> bool:
        """A frame of the log. False where others' frames before it are not known yet."""
        if offset != self.known:
            return False
        self._before.append(self.appended + content_bytes + FRAME_OVERHEAD)
        return True

    def skip_to(self, offset: int) -> None:
        """Frames that are gone from the log without having been seen here: they have no size."""
        if offset > self.known:
            self._before.extend([self.appended] * (offset - self.known))

    def mark(self, spans: Spans) -> None:
        newest = self.newest
        for device, (_, high) in spans.items():
            if high > newest.get(device, -1):
                newest[device] = high

    def is_used(self, spans: Spans) -> bool:
        """Whether one of the sequences is not above all of its device."""
        newest = self.newest
        return any(low <= newest.get(device, -1) for device, (low, _) in spans.items())

    def forget_before(self, offset: int) -> None:
        """Sizes of what is acknowledged: `newest` stays, as a device's sequences do."""
        gone = min(max(0, offset - self.first), len(self._before) - 1)
        del self._before[:gone]
        self.first += gone
