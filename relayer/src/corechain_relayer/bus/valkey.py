"""The gateway's side of the bus, on Valkey (or Redis) Streams: one stream a lane.

Nothing is ever trimmed: MAXLEN would drop frames that nobody has read. The length is limited where
frames enter. What the server must be set to is `guard.py`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError

from corechain.protocol.errors import CoreChainError
from corechain.protocol.reading import DeviceId
from corechain_relayer.bus.appends import Appends, Waiting
from corechain_relayer.bus.base import DeadLetter, Delivery, Position
from corechain_relayer.bus.connection import (
    asked,
    away,
    exchange,
    letter_pages,
    line,
    pages,
)
from corechain_relayer.bus.consumer import ValkeyConsumer
from corechain_relayer.bus.frame import PackedFrame
from corechain_relayer.bus.guard import Guard, RefusedServer
from corechain_relayer.bus.keys import FIELD, GROUP, LaneKeys, lane_keys
from corechain_relayer.bus.marks import marks_of
from corechain_relayer.bus.room import FRAME_OVERHEAD, Limits, Look, Rooms
from corechain_relayer.bus.scripts import APPEND, DEAD_LETTER, ENTER, LOOK
from corechain_relayer.errors import (
    BusFull,
    BusNotDurable,
    BusRestarted,
    BusUnavailable,
    SequenceInUse,
)
from corechain_relayer.metrics import Metrics

if TYPE_CHECKING:
    from redis.asyncio import Redis

DEAD_LETTERS_MAX = 10_000
"""Of those that a gateway adds: a device that signs nonsense must not fill the bus."""
LOOK_S, LANES_A_LOOK = 0.25, 16
NO_LIMITS = Limits(0)
_NOT_ENTERED = "the bus was restarted, and its lane not entered since"


@dataclass(frozen=True, slots=True)
class LeftStream:
    """A stream that no consumer reads any more."""

    redis: "Redis"
    name: str

    def pages(self) -> AsyncIterator[list[Delivery]]:
        return pages(self.redis, self.name)

    async def remove(self, ids: Sequence[str]) -> None:
        await asked(self.redis.xdel(self.name, *ids))


@dataclass(slots=True)
class ValkeyBus:
    """Appends of concurrent requests share round trips."""

    redis: "Redis"
    guard: Guard
    stream: str
    lanes: int
    limits: Limits
    metrics: Metrics
    rooms: Rooms = field(init=False)
    """How much each lane has, as the last look at it said."""
    positions: dict[int, Position] = field(default_factory=dict)
    """Where each lane was when we last heard of it."""
    _appends: Appends = field(default_factory=Appends)

    def __post_init__(self) -> None:
        self.rooms = Rooms.of(self.lanes, self.limits)

    @property
    def name(self) -> str:
        return self.stream

    def keys(self, lane: int) -> LaneKeys:
        return lane_keys(self.stream, lane)

    def consumer(self, lane: int) -> ValkeyConsumer:
        return ValkeyConsumer(self.redis, self.guard, self.keys(lane))

    def leftovers(self, most: int) -> "list[LeftStream]":
        """The one stream of versions without lanes, and those of lanes that are no more."""
        gone = [self.keys(lane).stream for lane in range(self.lanes, most)]
        return [LeftStream(self.redis, stream) for stream in (self.stream, *gone)]

    # ------------------------------------------------------------------ writing

    async def append(
        self, lane: int, frame: PackedFrame, fresh: bool = False, limited: bool = True
    ) -> None:
        await self._appends.put(lane, frame, fresh, limited)

    async def write_forever(self) -> None:
        await self._appends.carry_forever(self._written, self.metrics.bus_group)

    async def _written(self, group: Sequence[Waiting]) -> Sequence[CoreChainError | None]:
        answers: Sequence[object]
        try:
            answers = await self._send(group)
        except (CoreChainError, RedisError, OSError) as error:
            answers = [error] * len(group)
        return [self._read(*pair) for pair in zip(group, answers, strict=True)]

    async def _send(self, group: Sequence[Waiting]) -> list[object]:
        async with line(self.redis) as connection:
            # What is sent on this connection reaches the run of the server that it was opened to,
            # and no later one: so the lanes are known to have been entered in it, or not to.
            self.guard.require()
            return await exchange(connection, [self._command(waiting) for waiting in group])

    def _command(self, waiting: Waiting) -> list[Any]:
        keys, known = self.keys(waiting.lane), self.positions.get(waiting.lane)
        # An old run is sent as none, which no lane is in.
        run = known.run if known is not None and known.run == self.guard.run else ""
        limits = self.limits if waiting.limited else NO_LIMITS
        gone = self.rooms.lanes[waiting.lane].removed if waiting.lane < self.lanes else 0
        names = (keys.stream, keys.position, keys.newest)
        fixed = [run, limits.frames, limits.bytes, gone, FRAME_OVERHEAD, int(waiting.fresh)]
        marks = marks_of(waiting.frame.columns)
        frame = (waiting.frame.content, marks.width, marks.records)
        return ["EVALSHA", APPEND.sha, len(names), *names, *fixed, *frame]

    def _read(self, waiting: Waiting, answer: object) -> CoreChainError | None:
        error = self._error_of(answer)
        if error is None:
            known = self.positions[waiting.lane]
            grown = max(known.appended, answer[1])  # type: ignore[index]
            self.positions[waiting.lane] = replace(known, appended=grown)
            if waiting.lane < self.lanes:  # not one that is only emptied
                self.rooms.added(waiting.lane, answer[2])  # type: ignore[index]
        return error

    def _error_of(self, answer: object) -> CoreChainError | None:
        """None for a frame that is durable."""
        if isinstance(answer, list):
            return {
                b"ok": None,
                b"used": SequenceInUse("a sequence of the frame may be in use"),
                b"full": BusFull(f"the bus is at its limit of {self._shown()}"),
            }.get(answer[0], BusRestarted(_NOT_ENTERED))
        if isinstance(answer, CoreChainError):
            return answer
        if isinstance(answer, NoScriptError):
            return BusRestarted(_NOT_ENTERED)
        if isinstance(answer, OutOfMemoryError):
            return BusFull("the bus's server is out of memory")
        if isinstance(answer, RefusedServer):
            return answer.cause
        if isinstance(answer, Exception):  # its words have the address
            return away(answer)
        return BusUnavailable(f"append failed: {type(answer).__name__}: {answer}")

    def _shown(self) -> str:
        return f"{self.limits.frames} frames, {self.limits.bytes} bytes"

    async def enter(self, lane: int) -> Position:
        """`Bus.enter`. Raises BusUnavailable, BusNotDurable."""
        key = self.keys(lane).position
        try:
            async with line(self.redis) as connection:
                self.guard.require()
                run = self.guard.run or ""
                commands: list[list[Any]] = [
                    ["SCRIPT", "LOAD", APPEND.text],
                    ["EVAL", ENTER.text, 1, key, run],
                ]
                _, answer = await exchange(connection, commands)
        except RefusedServer as error:
            raise error.cause from None
        except (RedisError, OSError) as error:
            raise away(error) from error
        if not isinstance(answer, list):
            raise BusUnavailable(f"the lane cannot be entered: {answer}")
        start, appended = (int(number) for number in answer)
        self.positions[lane] = Position(run, start, appended)
        return self.positions[lane]

    async def inspect(self) -> None:
        """Asks for the server's settings anew: CONFIG SET needs no restart, and no new connection.

        Raises BusNotDurable, BusUnavailable.
        """
        try:
            async with line(self.redis) as connection:
                await self.guard.inspect(connection)
        except RefusedServer as error:
            raise error.cause from None
        except (RedisError, OSError) as error:
            raise away(error) from error

    # ------------------------------------------------------------------ looking

    async def look_forever(self) -> None:
        """Keeps `rooms` true; run it as a task where somebody asks them."""
        # Each lane costs the server a read of its oldest frame: many of them are asked less often.
        pause_s = LOOK_S * max(1.0, self.lanes / LANES_A_LOOK)
        while True:
            try:
                await self.look()
            except (BusUnavailable, BusNotDurable):
                self.rooms.unseen()  # appends fail by themselves, and say so louder
            await asyncio.sleep(pause_s)

    async def look(self) -> None:
        """Raises BusUnavailable, BusNotDurable."""
        pipeline = self.redis.pipeline(transaction=False)
        for lane in range(self.lanes):
            keys = self.keys(lane)
            pipeline.eval(LOOK.text, 2, keys.stream, keys.position, GROUP)
        answers = await asked(pipeline.execute())
        now = time.monotonic()
        for lane, answer in enumerate(answers):
            self.rooms.looked(lane, Look(now, *map(int, answer)))
        self.metrics.bus_bytes.set(sum(room.bytes_kept for room in self.rooms.lanes))
        self.metrics.bus_drain.set(max(room.drain_s for room in self.rooms.lanes))

    async def dead_letter(self, lane: int, payload: bytes, reason: str) -> None:
        """Adds a refused report to the lane's dead letters, while there are not too many."""
        arguments = (payload, reason, DEAD_LETTERS_MAX)
        await asked(DEAD_LETTER.run(self.redis, [self.keys(lane).dead], *arguments))

    async def keep_dead_letter(self, lane: int, payload: bytes, reason: str) -> None:
        """Adds what was acknowledged to the lane's dead letters, however many there are."""
        await asked(self.redis.xadd(self.keys(lane).dead, {FIELD: payload, "reason": reason}))

    async def dead_letters(self, lane: int) -> AsyncIterator[list[DeadLetter]]:
        async for page in letter_pages(self.redis, self.keys(lane).dead):
            yield page

    async def forget_dead_letters(self, lane: int, ids: Collection[str]) -> None:
        if ids:
            await asked(self.redis.xdel(self.keys(lane).dead, *ids))

    # ------------------------------------------------------------------ reading

    async def backlog(self, lane: int, after: str = "0") -> AsyncIterator[list[Delivery]]:
        async for page in pages(self.redis, self.keys(lane).stream, after):
            yield page

    async def newest(self, device: DeviceId, lanes: int) -> int | None:
        pipeline = self.redis.pipeline(transaction=False)
        for lane in range(lanes):
            pipeline.hget(self.keys(lane).newest, device)
        found = [int(answer) for answer in await asked(pipeline.execute()) if answer is not None]
        return max(found, default=None)

    async def undivided(self) -> int:
        """Frames on the one stream that versions without lanes had: an aggregator divides them."""
        return int(await asked(self.redis.xlen(self.stream)))

    async def depth(self) -> int:
        self.guard.require()
        pipeline = self.redis.pipeline(transaction=False)
        for lane in range(self.lanes):
            pipeline.xlen(self.keys(lane).stream)
        return sum(await asked(pipeline.execute()))

    async def close(self) -> None:
        await self.redis.aclose()
