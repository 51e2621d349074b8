"""What is under way on a connection, in both directions. Pure: who sends is `link.py`."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from corechain.service.tracing import Sampled
from corechain_relayer.mqtt.packets import MAX_REMAINING, Message

MESSAGE_OVERHEAD = 512
"""Bytes that a message takes in memory beside its payload: objects, columns, a place in a frame."""
ANSWERS_WAITING, ANSWERS_BYTES = 10_000, 32 << 20
"""Beyond so many, or so long ones, that the broker has not taken, an answer is dropped and counted:
a flood of bad messages must not fill our memory with what we say to them."""
ANSWERS_IN_FLIGHT = 20
"""What brokers of 3.1.1 take without being asked. One of MQTT 5 may say that it takes fewer, as
HiveMQ does: it hangs up on more."""
ANSWER_OVERHEAD = 32
"""More than a packet's lengths and numbers around what is in it."""


@dataclass(slots=True, eq=False)
class Held:
    """A message that we have and did not acknowledge. `done`: it may be, in its turn."""

    message: Message
    done: bool = False
    sampled: Sampled | None = None
    """Its span, where it is followed."""
    arrived_at: float = 0.0
    """Seconds since 1970; of what is followed."""

    @property
    def size(self) -> int:
        return len(self.message.payload) + MESSAGE_OVERHEAD


@dataclass(slots=True)
class HeldMessages:
    """Acknowledges in the order of arrival, as the standard demands (MQTT-4.6.0-2)."""

    bytes_held: int = 0
    _queue: deque[Held] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, message: Message) -> Held:
        held = Held(message)
        self._queue.append(held)
        self.bytes_held += held.size
        return held

    def done(self, held: Iterable[Held]) -> list[Message]:
        """What may be acknowledged now: the messages before which none is open."""
        for one in held:
            one.done = True
        queue, found = self._queue, []
        while queue and queue[0].done:
            first = queue.popleft()
            self.bytes_held -= first.size
            if first.message.packet_id:
                found.append(first.message)
        return found


@dataclass(frozen=True, slots=True)
class Answer:
    """What is published for a sender."""

    topic: str
    payload: bytes
    content_type: str
    correlation: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of its packet, or a few more."""
        texts = len(self.topic.encode()) + len(self.content_type)
        return texts + len(self.payload) + len(self.correlation) + ANSWER_OVERHEAD


@dataclass(slots=True)
class Outbox:
    """Answers on their way to the broker, at most once for each that it takes. `most_in_flight` and
    `most_bytes` of a packet: what the broker says that it takes."""

    most_in_flight: int = ANSWERS_IN_FLIGHT
    most_bytes: int = MAX_REMAINING
    _waiting: deque[Answer] = field(default_factory=deque)
    _bytes_waiting: int = 0
    _in_flight: set[int] = field(default_factory=set)
    _last_id: int = 0

    def put(self, answer: Answer) -> bool:
        """False when too many wait, or the broker would hang up on this one."""
        size, waiting = answer.size, len(self._waiting)
        is_full = waiting >= ANSWERS_WAITING or (waiting and self._bytes_waiting > ANSWERS_BYTES)
        if is_full or size > self.most_bytes:
            return False
        self._waiting.append(answer)
        self._bytes_waiting += size
        return True

    def taken(self, packet_id: int) -> None:
        """The broker has one."""
        self._in_flight.discard(packet_id)

    def to_send(self) -> Iterator[tuple[int, Answer]]:
        """Those that may go now, each with its packet id."""
        while self._waiting and len(self._in_flight) < self.most_in_flight:
            packet_id = self.new_id()
            self._in_flight.add(packet_id)
            answer = self._waiting.popleft()
            self._bytes_waiting -= answer.size
            yield packet_id, answer

    def new_id(self) -> int:
        """1 to 65,535, none that is in flight."""
        while True:
            self._last_id = self._last_id % 0xFFFF + 1
            if self._last_id not in self._in_flight:
                return self._last_id
