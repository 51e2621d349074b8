"""The bus on Valkey (or Redis) Streams with a consumer group.

Nothing is ever trimmed: MAXLEN would drop frames that nobody has read. The length is limited where
frames enter, and the server must run with `appendonly yes`, `appendfsync always` and `noeviction`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from corechain_relayer.bus.base import Delivery
from corechain_relayer.errors import BusFull, BusUnavailable
from corechain_relayer.metrics import Metrics

GROUP = "aggregator"
FIELD = b"f"
GROUP_FRAMES, GROUP_BYTES = 256, 8 << 20
"""At most this much goes into one round trip."""
QUEUED_FRAMES = 4096
"""Requests that may wait for the round trip under way."""
CLAIM_IDLE_MS = 30_000
"""A delivery another consumer has held for so long is taken over."""
BACKLOG_PAGE = 50
CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S = 5.0, 30.0

# The length test and the append are one step, so that no number of gateways can pass the limit.
APPEND = """
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return false end
return redis.call('XADD', KEYS[1], '*', 'f', ARGV[2])
"""
SET_ASIDE = """
redis.call('XADD', KEYS[2], '*', 'f', ARGV[2], 'reason', ARGV[3], 'id', ARGV[1])
redis.call('XACK', KEYS[1], ARGV[4], ARGV[1])
return redis.call('XDEL', KEYS[1], ARGV[1])
"""


@dataclass(slots=True)
class _Waiting:
    frame: bytes
    done: asyncio.Future[None]


def _deliveries(entries: Sequence[tuple[bytes, dict[bytes, bytes] | None]]) -> list[Delivery]:
    # An entry without fields was deleted after it was delivered: acknowledged by a twin.
    return [Delivery(id.decode(), fields[FIELD]) for id, fields in entries if fields]


def connect(url: str) -> "Redis":
    """A client that never repeats a command by itself: an append must not be sent twice unseen."""
    return Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=ANSWER_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )


@dataclass(slots=True)
class ValkeyBus:
    """Appends of concurrent requests share round trips; one consumer reads for a lane."""

    redis: "Redis"
    stream: str
    consumer: str
    max_frames: int
    metrics: Metrics
    _queue: "asyncio.Queue[_Waiting]" = field(init=False)
    _history_from: str | None = "0"
    _claim_from: str = "0-0"

    def __post_init__(self) -> None:
        self._queue = asyncio.Queue(QUEUED_FRAMES)

    # ------------------------------------------------------------------ writing

    async def append(self, frame: bytes) -> None:
        waiting = _Waiting(frame, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(waiting)
        except asyncio.QueueFull:
            raise BusFull(QUEUED_FRAMES) from None
        await waiting.done

    async def write_forever(self) -> None:
        """Carries appends to the server; run it as a task wherever `append` is used."""
        while True:
            group = await self._next_group()
            self.metrics.bus_group.observe(len(group))
            await self._write(group)

    async def _next_group(self) -> list[_Waiting]:
        group = [await self._queue.get()]
        size = len(group[0].frame)
        while len(group) < GROUP_FRAMES and size < GROUP_BYTES and not self._queue.empty():
            group.append(self._queue.get_nowait())
            size += len(group[-1].frame)
        return group

    async def _write(self, group: list[_Waiting]) -> None:
        pipeline = self.redis.pipeline(transaction=False)
        for waiting in group:
            pipeline.eval(APPEND, 1, self.stream, self.max_frames, waiting.frame)
        try:
            answers = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            answers = [error] * len(group)
        for waiting, answer in zip(group, answers, strict=True):
            self._settle(waiting, answer)

    def _settle(self, waiting: _Waiting, answer: object) -> None:
        if waiting.done.done():  # its request was cancelled
            return
        if isinstance(answer, bytes):
            waiting.done.set_result(None)
        elif answer is None or _out_of_memory(answer):
            waiting.done.set_exception(BusFull(self.max_frames))
        else:
            waiting.done.set_exception(BusUnavailable(f"append failed: {answer}"))

    # ------------------------------------------------------------------ reading

    async def open(self) -> None:
        """Creates stream and group if they are new. `0`: frames appended before it belong to it."""
        try:
            await self.redis.xgroup_create(self.stream, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise BusUnavailable(str(error)) from error
        except (RedisError, OSError) as error:
            raise BusUnavailable(str(error)) from error
        self._history_from, self._claim_from = "0", "0-0"

    async def read(self, limit: int, wait_s: float) -> list[Delivery]:
        if self._history_from is not None:
            again = await self._read_from(self._history_from, limit, None)
            self._history_from = again[-1].id if again else None
            if again:
                return again
        return await self._claim(limit) or await self._read_from(
            ">", limit, max(1, int(wait_s * 1000))
        )

    async def _read_from(self, start: str, limit: int, block_ms: int | None) -> list[Delivery]:
        answer = await _asked(
            self.redis.xreadgroup(
                GROUP, self.consumer, {self.stream: start}, count=limit, block=block_ms
            )
        )
        return _deliveries(answer[0][1]) if answer else []

    async def _claim(self, limit: int) -> list[Delivery]:
        """Takes over what a consumer of another name left behind."""
        answer = await _asked(
            self.redis.xautoclaim(
                self.stream, GROUP, self.consumer, CLAIM_IDLE_MS, self._claim_from, count=limit
            )
        )
        self._claim_from = answer[0].decode()
        return _deliveries(answer[1])

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        ids = [delivery.id for delivery in deliveries]
        pipeline = self.redis.pipeline(transaction=True)
        pipeline.xack(self.stream, GROUP, *ids)
        pipeline.xdel(self.stream, *ids)
        await _asked(pipeline.execute())

    async def set_aside(self, delivery: Delivery, reason: str) -> None:
        keys = (self.stream, self.dead_stream)
        arguments = (delivery.id, delivery.payload, reason, GROUP)
        await _asked(self.redis.eval(SET_ASIDE, 2, *keys, *arguments))

    @property
    def dead_stream(self) -> str:
        return f"{self.stream}:dead"

    async def bury(self, payload: bytes, reason: str) -> None:
        await _asked(self.redis.xadd(self.dead_stream, {FIELD: payload, "reason": reason}))

    async def backlog(self) -> AsyncIterator[bytes]:
        start = "-"
        while True:
            page = await _asked(self.redis.xrange(self.stream, start, "+", count=BACKLOG_PAGE))
            for delivery in _deliveries(page):
                yield delivery.payload
            if len(page) < BACKLOG_PAGE:
                return
            start = f"({page[-1][0].decode()}"

    async def depth(self) -> int:
        return int(await _asked(self.redis.xlen(self.stream)))

    async def close(self) -> None:
        await self.redis.aclose()


def _out_of_memory(answer: object) -> bool:
    return isinstance(answer, RedisError) and str(answer).startswith("OOM")


async def _asked(answer: Awaitable[Any]) -> Any:
    """The answer. Raises BusUnavailable."""
    try:
        return await answer
    except (RedisError, OSError) as error:
        raise BusUnavailable(f"{type(error).__name__}: {error}") from error
