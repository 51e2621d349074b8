"""What the relayer asks of a bus. Valkey Streams is one; the seam is here for others."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Delivery:
    """A frame as the bus hands it out. It comes again until it is acknowledged."""

    id: str
    payload: bytes


class Bus(Protocol):
    """At-least-once delivery in order of appending; an appended frame survives a crash."""

    async def append(self, frame: bytes) -> None:
        """Returns when the frame is durable.

        Raises BusFull (nothing was appended) or BusUnavailable (unknown whether it was).
        """

    async def read(self, limit: int, wait_s: float) -> list[Delivery]:
        """Frames that nobody has acknowledged: first those delivered before, then new ones."""

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Removes frames. Call it only after what they caused is durable."""

    async def set_aside(self, delivery: Delivery, reason: str) -> None:
        """Moves a frame to the dead letters, atomically."""

    async def bury(self, payload: bytes, reason: str) -> None:
        """Adds a part of a frame to the dead letters; the frame itself stays."""

    def backlog(self) -> AsyncIterator[bytes]:
        """The frames that are on the bus now, acknowledged by nobody."""

    async def depth(self) -> int:
        """How many frames are on the bus."""
