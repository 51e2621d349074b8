"""The gateway's side of the bus, on Apache Kafka: one topic, and in it a partition a lane.

Kafka appends whatever it is sent. What Valkey does in one step, a writer here does in two: it reads
what others have appended, looks at sequences and limits, then appends. What was acknowledged before
an append began is always seen; of two gateways that append at the same moment, both may take the
same sequence, or pass a limit by a group. The aggregator counts it once all the same.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from corechain.protocol.errors import CoreChainError
from corechain.protocol.reading import DeviceId
from corechain_relayer.bus.appends import Appends, Waiting
from corechain_relayer.bus.base import DeadLetter, Delivery, Leftover, Position
from corechain_relayer.bus.frame import PackedFrame
from corechain_relayer.bus.kafka.address import KafkaAddress
from corechain_relayer.bus.kafka.consumer import KafkaConsumer, delivery_of
from corechain_relayer.bus.kafka.guard import TopicState, Wanted, shortfalls, too_few, untold
from corechain_relayer.bus.kafka.known import PAGE, KnownLanes
from corechain_relayer.bus.kafka.link import Link, Read, Record
from corechain_relayer.bus.room import Limits, Rooms
from corechain_relayer.errors import (
    BusFull,
    BusNotDurable,
    BusRestarted,
    BusUnavailable,
    LanesMismatch,
    SequenceInUse,
)
from corechain_relayer.metrics import Metrics

log = structlog.get_logger(__name__)

T = TypeVar("T")
THREADS = 8
"""One writes; the others ask and read, so that a slow append delays no probe."""
DEAD_LETTERS_MAX = 10_000
"""Of a lane, of those that a gateway adds: as on Valkey."""
LOOK_S = 0.5
"""Half as often as at Valkey: a look is two requests to a broker, and costs it ten times more."""
INSPECT_S = 3.0
"""So long a cluster that was found fit is not asked again: four requests, from every process."""
MADE_S = 5.0
REASON = "reason"
_NOT_ENTERED = "the bus was made anew, and its lane not entered since"


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, "kafka")


@dataclass(slots=True)
class KafkaBus:
    """Appends of concurrent requests share round trips. `vouched`: the operator answers for what
    the topics' settings do not."""

    link: Link
    lanes: int
    limits: Limits
    wanted: Wanted
    vouched: bool
    metrics: Metrics
    rooms: Rooms = field(init=False)
    fault: CoreChainError | None = None
    """Why appends are refused now."""
    _known: KnownLanes = field(init=False)
    _appends: Appends = field(default_factory=Appends)
    _pool: ThreadPoolExecutor = field(default_factory=_threads)
    _logged: str = ""
    _fit_until: float = 0.0

    def __post_init__(self) -> None:
        self.rooms = Rooms.of(self.lanes, self.limits)
        self._known = KnownLanes(self.link)

    @property
    def positions(self) -> Mapping[int, Position]:
        return self._known.positions

    @property
    def run(self) -> str | None:
        """The id of the topic that was asked last; None before the first."""
        return self._known.run

    @property
    def address(self) -> KafkaAddress:
        return self.link.address

    @property
    def name(self) -> str:
        return f"kafka:{self.address.prefix}"

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Runs a blocking conversation in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    # ------------------------------------------------------------------ which cluster

    async def inspect(self) -> None:
        """Makes the topics where they are missing."""
        if self.fault is None and time.monotonic() < self._fit_until:
            return
        await self.call(self._inspect)
        self._fit_until = time.monotonic() + INSPECT_S

    def _inspect(self) -> None:
        topics = (self.address.reports, self.address.dead)
        try:
            states = self._made(topics)
        except BusNotDurable as error:
            self.fault = error
            self._log_once(error)
            raise
        self.judge(states[self.address.reports], states[self.address.dead])
        self._known.enter_run(states[self.address.reports].id)
        self.require()

    def _made(self, topics: Sequence[str]) -> Mapping[str, TopicState]:
        """All of the topics. A new one is known to each broker only after a moment."""
        states = self.link.describe(topics)
        for topic in topics:
            if topic not in states:
                self._create(topic)
        deadline = time.monotonic() + MADE_S
        while len(states) < len(topics):
            if time.monotonic() > deadline:
                raise BusUnavailable("Kafka: its topics are made, and not known everywhere yet")
            time.sleep(0.05)
            states = self.link.describe(topics)
        return states

    def _create(self, topic: str) -> None:
        brokers = self.link.brokers()
        if brokers < self.wanted.replicas:
            raise BusNotDurable([too_few(brokers, self.wanted)], ())
        config = self.wanted.topic_config()
        self.link.create(topic, self.lanes, self.wanted.replicas, config)
        log.info("topic made", topic=topic, partitions=self.lanes, copies=self.wanted.replicas)

    def judge(self, reports: TopicState, dead: TopicState) -> None:
        """Keeps what is wrong as `fault`; what the operator vouches for is logged, not kept."""
        wrong = [*shortfalls(reports, self.wanted), *shortfalls(dead, self.wanted)]
        unknown = untold((reports, dead))
        fault = BusNotDurable(list(dict.fromkeys(wrong)), unknown) if wrong or unknown else None
        self.fault = None if self.vouched else fault
        # Nobody can vouch for this: frames of some devices would have no lane, or no reader.
        if reports.partitions != self.lanes:
            self.fault = LanesMismatch(self.address.reports, reports.partitions, self.lanes)
        self._log_once(self.fault or fault)

    def _log_once(self, fault: CoreChainError | None) -> None:
        known, self._logged = self._logged, "" if fault is None else str(fault)
        if fault is None or known == self._logged:
            return
        if self.fault is None:
            log.warning("bus not known to be durable, the operator vouches", reason=str(fault))
        else:
            log.error("bus refused", reason=str(fault))

    def require(self) -> None:
        """Raises BusNotDurable, LanesMismatch when the cluster that was asked last is not fit."""
        if self.fault is not None:
            raise self.fault

    async def enter(self, lane: int) -> Position:
        """`Bus.enter`. Raises BusUnavailable, BusNotDurable, LanesMismatch."""
        if self.run is None:
            await self.inspect()
        self.require()
        return await self.call(self._known.enter, lane)

    # ------------------------------------------------------------------ writing

    async def append(
        self, lane: int, frame: PackedFrame, fresh: bool = False, limited: bool = True
    ) -> None:
        await self._appends.put(lane, frame, fresh, limited)

    async def write_forever(self) -> None:
        await self._appends.carry_forever(self._written, self.metrics.bus_group)

    async def _written(self, group: Sequence[Waiting]) -> Sequence[CoreChainError | None]:
        try:
            self.require()
            return await self.call(self._write, group)
        except CoreChainError as error:
            return [error] * len(group)

    def _write(self, group: Sequence[Waiting]) -> list[CoreChainError | None]:
        with self._known.lock:
            entered = self._known.learn_up_to_now({waiting.lane for waiting in group})
            errors = [self._refused(waiting, waiting.lane in entered) for waiting in group]
        going = [index for index, error in enumerate(errors) if error is None]
        records = [self._record(group[index]) for index in going]
        for index, answer in zip(going, self.link.send(records), strict=True):
            if isinstance(answer, int):
                self._appended(group[index], answer)
            else:
                errors[index] = answer
        return errors

    def _record(self, waiting: Waiting) -> Record:
        return Record(self.address.reports, waiting.lane, waiting.frame.content)

    def _refused(self, waiting: Waiting, is_entered: bool) -> CoreChainError | None:
        """Why nothing of it may be appended. What may is marked at once: the next one of the group
        sees it. If it fails, a later one is looked at closely, as what is in doubt has to be."""
        if not is_entered:
            return BusRestarted(_NOT_ENTERED)
        index = self._known.index(waiting.lane)
        if waiting.limited and self._known.is_full(waiting.lane, self.limits):
            return BusFull(f"the bus is at its limit of {self._shown()}")
        spans = waiting.frame.spans
        if waiting.fresh and index.is_used(spans):
            return SequenceInUse("a sequence of the frame may be in use")
        index.mark(spans)
        return None

    def _shown(self) -> str:
        return f"{self.limits.frames} frames, {self.limits.bytes} bytes"

    def _appended(self, waiting: Waiting, offset: int) -> None:
        appended = self._known.appended(waiting.lane, offset, len(waiting.frame.content))
        if appended is not None:
            self.rooms.added(waiting.lane, appended)

    # ------------------------------------------------------------------ looking

    async def look_forever(self) -> None:
        while True:
            try:
                await self.look()
            except (BusUnavailable, BusNotDurable, LanesMismatch):
                self.rooms.unseen()  # appends fail by themselves, and say so louder
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        if self.run is None:
            await self.inspect()
        for lane, look in (await self.call(self._known.look, range(self.lanes))).items():
            self.rooms.looked(lane, look)
        self.metrics.bus_bytes.set(sum(room.bytes_kept for room in self.rooms.lanes))
        self.metrics.bus_drain.set(max(room.drain_s for room in self.rooms.lanes))

    async def depth(self) -> int:
        self.require()
        return await self.call(self.unsealed, range(self.lanes))

    def unsealed(self, lanes: Sequence[int]) -> int:
        """Frames on the lanes that no aggregator has acknowledged. Blocking."""
        ends = self.link.ends(self.address.reports, lanes)
        progress = self.link.progress(lanes)
        left = (ends[lane] - progress[lane].low - len(progress[lane].acked) for lane in lanes)
        return sum(max(0, frames) for frames in left)

    async def newest(self, device: DeviceId, lanes: int) -> int | None:
        """Of sequences that are acknowledged already, what this process happens to know; the
        journal knows all of them."""
        found = await self.call(self._known.newest, device, range(min(lanes, self.lanes)))
        return max(found, default=None)

    # ------------------------------------------------------------------ reading

    async def backlog(self, lane: int, after: str = "0") -> AsyncIterator[list[Delivery]]:
        reports = self.address.reports
        end = (await self.call(self.link.ends, reports, [lane]))[lane]
        progress = (await self.call(self.link.progress, [lane]))[lane]
        start = max(int(after), progress.low)
        while start < end:
            records = await self.call(self.link.page, reports, lane, start, end, PAGE)
            if not records:
                return
            start = records[-1].offset + 1
            left = [record for record in records if record.offset not in progress.acked]
            if left:
                yield [delivery_of(record) for record in left]

    def consumer(self, lane: int) -> KafkaConsumer:
        return KafkaConsumer(self, lane)

    async def undivided(self) -> int:
        return 0

    def leftovers(self, most: int) -> Sequence[Leftover]:
        """None: a topic has as many partitions as there are lanes, or nothing starts."""
        return ()

    # ------------------------------------------------------------------ dead letters

    async def dead_letter(self, lane: int, payload: bytes, reason: str) -> None:
        if await self.call(self.dead_letters_kept, lane) < DEAD_LETTERS_MAX:
            await self.keep_dead_letter(lane, payload, reason)

    def dead_letters_kept(self, lane: int) -> int:
        dead = self.address.dead
        return self.link.ends(dead, [lane])[lane] - self.link.starts(dead, [lane])[lane]

    async def keep_dead_letter(self, lane: int, payload: bytes, reason: str) -> None:
        headers: Mapping[str, bytes] = {REASON: reason.encode()}
        record = Record(self.address.dead, lane, payload, headers)
        (answer,) = await self.call(self.link.send, [record])
        if not isinstance(answer, int):
            raise answer

    async def dead_letters(self, lane: int) -> AsyncIterator[list[DeadLetter]]:
        dead = self.address.dead
        start = (await self.call(self.link.starts, dead, [lane]))[lane]
        end = (await self.call(self.link.ends, dead, [lane]))[lane]
        while start < end:
            records = await self.call(self.link.page, dead, lane, start, end, PAGE)
            if not records:
                return
            start = records[-1].offset + 1
            yield [_letter_of(record) for record in records]

    async def forget_dead_letters(self, lane: int, ids: Collection[str]) -> None:
        """Kafka deletes the oldest only: those that stay are appended again first."""
        newest = 0
        async for page in self.dead_letters(lane):
            for letter in page:
                newest = int(letter.id)
                if letter.id not in ids:
                    await self.keep_dead_letter(lane, letter.payload, letter.reason)
        await self.call(self.link.forget, self.address.dead, lane, newest)

    async def close(self) -> None:
        self.link.close()
        self._pool.shutdown(wait=False, cancel_futures=True)


def _letter_of(record: Read) -> DeadLetter:
    reason = record.headers.get(REASON, b"").decode("utf-8", "replace")
    return DeadLetter(str(record.offset + 1), record.value, reason)
