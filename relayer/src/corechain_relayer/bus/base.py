"""What the relayer asks of a bus. Valkey Streams is one, Apache Kafka another.

A lane is a part of the bus with one consumer: a stream on Valkey, a partition on Kafka. Which lane
a device belongs to is `corechain.protocol.lanes`.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from corechain.protocol.reading import DeviceId
from corechain_relayer.bus.frame import PackedFrame
from corechain_relayer.bus.room import Rooms


@dataclass(frozen=True, slots=True)
class Delivery:
    """A frame as the bus hands it out. It comes again after a restart until it is acknowledged."""

    id: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What no batch may hold: a frame, as bytes, and the name of the error."""

    id: str
    payload: bytes
    reason: str


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


class Consumer(Protocol):
    """The aggregator's side, one lane: at-least-once delivery in order of appending."""

    async def open(self) -> None:
        """Takes over all that earlier consumers have left. The caller holds the lane's lock."""

    async def read(self, limit: int, wait_s: float) -> list[Delivery]:
        """Frames not delivered in this session: first those that others have left, then new ones.
        None is delivered twice in a session. Raises BusRestarted when the session has to end."""

    async def ack(self, ids: Sequence[str]) -> None:
        """Removes frames. Call it only after what they caused is durable."""

    async def set_aside(self, delivery: Delivery, reason: str) -> None:
        """Moves a frame to the dead letters: it is there before it is acknowledged."""

    async def dead_letter(self, payload: bytes, reason: str) -> None:
        """Adds a part of a frame to the dead letters; the frame itself stays."""

    async def depth(self) -> int:
        """How many frames are on the lane."""

    async def aclose(self) -> None:
        """Ends the session. What it holds is left to the next one."""


class Leftover(Protocol):
    """Frames where no consumer reads any more: of lanes that are no more, or of old versions."""

    @property
    def name(self) -> str: ...

    def pages(self) -> AsyncIterator[list[Delivery]]:
        """What lies there now. Raises BusUnavailable."""

    async def remove(self, ids: Sequence[str]) -> None:
        """Call it only after the frames are durable elsewhere."""


class Bus(Protocol):
    """The gateway's side, for all lanes. An appended frame survives a crash."""

    @property
    def name(self) -> str:
        """By which the journal remembers its positions: another bus has another name."""

    @property
    def lanes(self) -> int: ...

    @property
    def rooms(self) -> Rooms:
        """How much each lane has, as the last look at it said."""

    @property
    def positions(self) -> Mapping[int, Position]:
        """Where each lane was when we last heard of it."""

    async def append(
        self, lane: int, frame: PackedFrame, fresh: bool = False, limited: bool = True
    ) -> None:
        """Returns when the frame is durable.

        With `fresh`, raises SequenceInUse, and appends nothing, when a device's sequences in the
        frame are not all above what it ever had on this lane. Raises BusFull (nothing was
        appended), BusRestarted (the same; `enter` the lane first) or BusUnavailable (unknown
        whether it was). Not `limited`: for what is on the bus already and only changes its lane.
        """

    async def write_forever(self) -> None:
        """Carries appends to the server; run it as a task wherever `append` is used."""

    async def inspect(self) -> None:
        """Asks whether an acknowledgement may rest on the server, and on its settings of now.

        Raises BusNotDurable, LanesMismatch, BusUnavailable.
        """

    async def enter(self, lane: int) -> Position:
        """Where the lane is now, and that appends may go to this run. Raises BusUnavailable."""

    def backlog(self, lane: int, after: str = "0") -> AsyncIterator[list[Delivery]]:
        """The frames after an id that are on the lane now, acknowledged by nobody, in pages."""

    async def newest(self, device: DeviceId, lanes: int) -> int | None:
        """The device's highest sequence that was ever on one of so many lanes."""

    async def dead_letter(self, lane: int, payload: bytes, reason: str) -> None:
        """Keeps a report that was refused and may matter to its owner."""

    async def keep_dead_letter(self, lane: int, payload: bytes, reason: str) -> None:
        """Keeps what was acknowledged, however many dead letters there are."""

    def dead_letters(self, lane: int) -> AsyncIterator[list[DeadLetter]]:
        """Those that are kept now, oldest first, in pages. Raises BusUnavailable."""

    async def forget_dead_letters(self, lane: int, ids: Collection[str]) -> None:
        """Deletes some of them; the others stay, perhaps under other ids."""

    async def undivided(self) -> int:
        """Frames that are on no lane yet, of versions without lanes."""

    async def depth(self) -> int:
        """How many frames are on the bus. Raises BusUnavailable."""

    async def look(self) -> None:
        """Makes `rooms` true. Raises BusUnavailable, BusNotDurable."""

    async def look_forever(self) -> None:
        """Keeps `rooms` true; run it as a task where somebody asks them."""

    def consumer(self, lane: int) -> Consumer:
        """A session's consumer. At most one of a lane is open: who opens it holds its lock."""

    def leftovers(self, most: int) -> Sequence[Leftover]:
        """Of a bus that had as many lanes as `most`."""

    async def close(self) -> None: ...
