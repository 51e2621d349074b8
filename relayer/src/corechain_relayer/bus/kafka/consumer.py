"""The aggregator's side of the bus on Kafka: one lane, one consumer at a time.

The lane's lock in the journal makes a session the only consumer, so it is assigned its partition
and joins no group: nothing is rebalanced, and nobody gets a lane whose lock another one holds. An
offset is committed after the effect is durable; a late commit of a predecessor without lock can
only set it back, and what is then delivered again is counted once.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from corechain_relayer.bus.base import Delivery
from corechain_relayer.bus.kafka.clients import SLICE_S, raise_error, unavailable
from corechain_relayer.bus.kafka.link import Read
from corechain_relayer.bus.kafka.progress import Acks
from corechain_relayer.errors import BusRestarted, BusUnavailable

if TYPE_CHECKING:
    from corechain_relayer.bus.kafka.bus import KafkaBus

log = structlog.get_logger(__name__)

T = TypeVar("T")
SHOW_S = 1.0
"""How often gateways are shown how far was read: they estimate a rate over 20 s from it."""
DEPTH_S = 1.0
"""Between two questions how long the lane is: each is a round trip, and a turn may be short."""
FORGET_S = 10.0
"""How often the log is rid of what is acknowledged."""
_RESETS = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)


def _one_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "kafka-consumer")


def delivery_of(record: Read) -> Delivery:
    """Ids begin at 1: "0" is before all of them, as on every bus."""
    return Delivery(str(record.offset + 1), record.value)


def offset_of(id: str) -> int:
    return int(id) - 1


@dataclass(slots=True)
class KafkaConsumer:
    """A session. librdkafka's client is used, and closed, in a thread of its own only."""

    bus: "KafkaBus"
    lane: int
    _thread: ThreadPoolExecutor = field(default_factory=_one_thread)
    _client: Any = None
    _acks: Acks = field(default_factory=lambda: Acks(0, 0))
    _run: str | None = None
    _generation: int = 0
    _shown_at: float = 0.0
    _forgot_at: float = 0.0
    _depth: tuple[float, int] = (0.0, 0)

    async def open(self) -> None:
        """Raises BusUnavailable, BusNotDurable, LanesMismatch."""
        await self.bus.inspect()
        self._run = self.bus.run
        progress = await self.bus.call(self.bus.link.progress, [self.lane])
        self._acks = Acks.after(progress[self.lane])
        await self._call(self._assign, self._acks.low)

    def _assign(self, offset: int) -> None:
        self._generation = self.bus.link.generation
        # Beyond the end there is another log than the one that was committed for.
        self._client = self.bus.link.consumer("error")
        self._client.assign([self._place(offset)])

    def _place(self, offset: int, metadata: str = "") -> Any:
        return TopicPartition(self.bus.address.reports, self.lane, offset, metadata)

    async def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, function, *arguments)
        except KafkaException as error:
            if error.args[0].code() in _RESETS:
                raise BusRestarted("the lane's log is another one: this session ends") from error
            raise unavailable(error) from error

    # ------------------------------------------------------------------ reading

    async def read(self, limit: int, wait_s: float) -> list[Delivery]:
        """Raises BusRestarted when the topic is another one than at `open`; BusUnavailable."""
        deadline = time.monotonic() + wait_s
        while True:
            self._require_same_run()
            # In slices: acknowledgements need the thread, too.
            left_s = max(0.001, min(SLICE_S, deadline - time.monotonic()))
            found = await self._call(self._read, limit, left_s)
            if found or time.monotonic() >= deadline:
                break
        await self._show_progress()
        return [delivery_of(record) for record in found]

    def _require_same_run(self) -> None:
        if self.bus.run != self._run:
            raise BusRestarted("the bus was made anew: this session ends")
        if self.bus.link.generation != self._generation:
            raise BusUnavailable("Kafka: RELAYER_KAFKA_OPTIONS has changed: this session ends")

    def _read(self, limit: int, wait_s: float) -> list[Read]:
        # One at first: more would be waited for until the time is over.
        found = self._client.consume(1, wait_s)
        if found and limit > 1:
            found += self._client.consume(limit - 1, 0)
        messages = [raise_error(message) for message in found]
        if messages:
            self._acks.read = messages[-1].offset() + 1
        return [
            Read(message.offset(), message.value() or b"", {})
            for message in messages
            if not self._acks.is_acked(message.offset())
        ]

    async def _show_progress(self) -> None:
        """So that gateways know how fast the lane is drained while its window is open."""
        now = time.monotonic()
        if now - self._shown_at >= SHOW_S and self._acks.read > self._acks.low:
            self._shown_at = now
            await self._commit()

    # ------------------------------------------------------------------ acknowledging

    async def ack(self, ids: Sequence[str]) -> None:
        if not ids:
            return
        self._acks.add(map(offset_of, ids))
        await self._commit()
        self._depth = (0.0, 0)
        if time.monotonic() - self._forgot_at >= FORGET_S:
            self._forgot_at = time.monotonic()
            await self._forget()

    async def _commit(self) -> None:
        progress = self._acks.progress
        await self._call(self._commit_now, self._place(progress.low, progress.metadata()))

    def _commit_now(self, place: Any) -> None:
        self._client.commit(offsets=[place], asynchronous=False)

    async def _forget(self) -> None:
        """The disk is full of acknowledged frames otherwise; it is no loss where it fails."""
        where = self.bus.address.reports, self.lane, self._acks.low
        try:
            await self.bus.call(self.bus.link.forget, *where)
        except BusUnavailable as error:
            log.warning("acknowledged frames not deleted", lane=self.lane, error=str(error))

    async def set_aside(self, delivery: Delivery, reason: str) -> None:
        await self.bus.keep_dead_letter(self.lane, delivery.payload, reason)
        await self.ack([delivery.id])

    async def dead_letter(self, payload: bytes, reason: str) -> None:
        await self.bus.keep_dead_letter(self.lane, payload, reason)

    async def depth(self) -> int:
        asked_at, known = self._depth
        now = time.monotonic()
        if now - asked_at < DEPTH_S:
            return known
        ends = await self.bus.call(self.bus.link.ends, self.bus.address.reports, [self.lane])
        depth = max(0, ends[self.lane] - self._acks.low - len(self._acks.acked))
        self._depth = (now, depth)
        return depth

    async def aclose(self) -> None:
        client, self._client = self._client, None
        try:
            if client is not None:
                await self._call(client.close)
        finally:
            self._thread.shutdown(wait=False)
