"""What the relayer asks of a bus. Valkey Streams is one; the seam is here for others.

A lane is a part of the bus with one consumer: a stream here, a partition elsewhere. Which lane a
device belongs to is `corechain.protocol.lanes`.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from corechain.protocol.reading import DeviceId
from corechain_relayer.bus.frame import PackedFrame


@dataclass(frozen=True, slots=True)
class Delivery:
    """A frame as the bus hands it out. It comes again after a restart until it is acknowledged."""

    id: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Position:
    """How far a lane's writing is: frames ever appended, and the run of the server that says so.

    `start` is how many there were when this run began: less than was acknowledged before it means
    that the restart has lost the difference.
    """

    run: str
    start: int
    appended: int


def frames_lost(known: Position, now: Position) -> int:
    """How many frames that were there at `known` the bus has no more."""
    kept = now.appended if known.run == now.run else now.start
    return max(0, known.appended - kept)


class Bus(Protocol):
    """The gateway's side, for all lanes. An appended frame survives a crash."""

    async def append(self, lane: int, frame: PackedFrame, fresh: bool = False) -> None:
        """Returns when the frame is durable.

        With `fresh`, raises SequenceInUse, and appends nothing, when a device's sequences in the
        frame are not all above what it ever had on this lane. Raises BusFull (nothing was
        appended), BusRestarted (the same; `enter` the lane first) or BusUnavailable (unknown
        whether it was).
        """

    async def enter(self, lane: int) -> Position:
        """Where the lane is now, and that appends may go to this run. Raises BusUnavailable."""

    def backlog(self, lane: int, after: str = "0") -> AsyncIterator[list[Delivery]]:
        """The frames after an id that are on the lane now, acknowledged by nobody, in pages."""

    async def newest(self, device: DeviceId, lanes: int) -> int | None:
        """The device's highest sequence that was ever on one of so many lanes."""

    async def dead_letter(self, lane: int, payload: bytes, reason: str) -> None:
        """Keeps a report that was refused and may matter to its owner."""

    async def depth(self) -> int:
        """How many frames are on the bus. Raises BusUnavailable."""


class Consumer(Protocol):
    """The aggregator's side, one lane: at-least-once delivery in order of appending."""

    async def open(self) -> None:
        """Takes over all that earlier consumers have left. The caller holds the lane's lock."""

    async def read(self, limit: int, wait_s: float) -> list[Delivery]:
        """Frames not delivered in this session: first those that others have left, then new ones.
        None is delivered twice in a session."""

    async def ack(self, ids: Sequence[str]) -> None:
        """Removes frames. Call it only after what they caused is durable."""

    async def set_aside(self, delivery: Delivery, reason: str) -> None:
        """Moves a frame to the dead letters, atomically."""

    async def dead_letter(self, payload: bytes, reason: str) -> None:
        """Adds a part of a frame to the dead letters; the frame itself stays."""

    async def depth(self) -> int:
        """How many frames are on the lane."""
