"""The aggregator's side of the bus: one lane, one consumer at a time.

The lane's lock in the journal makes a session the only consumer. What earlier ones have left is
taken over once, when the session begins. XAUTOCLAIM by idle time would hand a session its own
frames again as soon as a window is older than that time, and a window may be a day old.
"""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import ResponseError

from corechain_relayer.bus.base import Delivery
from corechain_relayer.bus.connection import asked, deliveries
from corechain_relayer.bus.guard import Guard
from corechain_relayer.bus.keys import FIELD, GROUP, LaneKeys
from corechain_relayer.bus.scripts import FORGET_CONSUMERS, SET_ASIDE
from corechain_relayer.errors import BusRestarted

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = structlog.get_logger(__name__)

OTHERS_S = 5.0
"""How often a session looks for frames that a predecessor took after it had lost the lock."""
OTHERS_PAGE = 256


@dataclass(slots=True)
class ValkeyConsumer:
    """A session's consumer: its name is new, so that nothing it has read can be taken for old."""

    redis: "Redis"
    guard: Guard
    keys: LaneKeys
    name: str = field(default_factory=lambda: f"aggregator-{uuid.uuid4().hex[:12]}")
    _left_from: str | None = "0-0"
    """Where the takeover goes on; None once it is done."""
    _run: str | None = None
    _looked_at: float = 0.0
    _held: set[str] = field(default_factory=set)
    """Ids of what this session has read and not acknowledged."""

    async def open(self) -> None:
        """Creates stream and group if they are new. `0`: frames appended before belong to it."""
        await asked(self._create_group())
        # A name without frames is of no use to anybody; one that has some is taken over first.
        await asked(FORGET_CONSUMERS.run(self.redis, [self.keys.stream], GROUP, self.name))
        self._left_from, self._run = "0-0", self.guard.run
        self._looked_at = time.monotonic()

    async def _create_group(self) -> None:
        try:
            await self.redis.xgroup_create(self.keys.stream, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def read(self, limit: int, wait_s: float) -> list[Delivery]:
        """Raises BusRestarted when the server is another run than at `open`: what it delivers, and
        what it has forgotten, is known to a new session only."""
        found = await self._read(limit, wait_s)
        self._held.update(delivery.id for delivery in found)
        if self.guard.run != self._run:
            raise BusRestarted("the bus was restarted: this session ends")
        return found

    async def _read(self, limit: int, wait_s: float) -> list[Delivery]:
        if self._left_from is not None:
            left = await self._take_left(limit)
            if left:
                return left
        taken = await self._take_from_others() if self._is_time() else []
        return taken or await self._read_new(limit, wait_s)

    async def _take_left(self, limit: int) -> list[Delivery]:
        """A page of all that was delivered and not acknowledged when this session began."""
        found: list[Delivery] = []
        while self._left_from is not None and not found:
            answer = await asked(
                self.redis.xautoclaim(
                    self.keys.stream, GROUP, self.name, 0, self._left_from, count=limit
                )
            )
            following = answer[0].decode()
            self._left_from = None if following == "0-0" else following
            found = deliveries(answer[1])
        return found

    async def _read_new(self, limit: int, wait_s: float) -> list[Delivery]:
        block_ms = max(1, int(wait_s * 1000))  # 0 would wait for ever
        answer = await asked(
            self.redis.xreadgroup(
                GROUP, self.name, {self.keys.stream: ">"}, count=limit, block=block_ms
            )
        )
        return deliveries(answer[0][1]) if answer else []

    def _is_time(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at < OTHERS_S:
            return False
        self._looked_at = now
        return True

    async def _take_from_others(self) -> list[Delivery]:
        """A predecessor that lost its lock while it was reading cannot write what it read. Nor what
        it took from this session, as one that is woken while it takes over may: that is in a window
        here, and must not come again. As a double it would be acknowledged at once."""
        summary = await asked(self.redis.xpending(self.keys.stream, GROUP))
        others = [row["name"] for row in summary["consumers"] if row["name"].decode() != self.name]
        found: list[Delivery] = []
        for other in others:
            held = await asked(
                self.redis.xpending_range(
                    self.keys.stream, GROUP, "-", "+", OTHERS_PAGE, consumername=other
                )
            )
            ids = [row["message_id"] for row in held]
            claimed = self.redis.xclaim(self.keys.stream, GROUP, self.name, 0, ids)
            taken = deliveries(await asked(claimed)) if ids else []
            found += [delivery for delivery in taken if delivery.id not in self._held]
            log.warning("frames taken over from a late reader", consumer=other, frames=len(ids))
        return found

    async def ack(self, ids: Sequence[str]) -> None:
        if not ids:
            return
        pipeline = self.redis.pipeline(transaction=True)
        pipeline.xack(self.keys.stream, GROUP, *ids)
        pipeline.xdel(self.keys.stream, *ids)
        await asked(pipeline.execute())
        self._held.difference_update(ids)

    async def set_aside(self, delivery: Delivery, reason: str) -> None:
        keys = (self.keys.stream, self.keys.dead)
        arguments = (delivery.id, delivery.payload, reason, GROUP)
        await asked(SET_ASIDE.run(self.redis, keys, *arguments))
        self._held.discard(delivery.id)

    async def dead_letter(self, payload: bytes, reason: str) -> None:
        await asked(self.redis.xadd(self.keys.dead, {FIELD: payload, "reason": reason}))

    async def depth(self) -> int:
        return int(await asked(self.redis.xlen(self.keys.stream)))

    async def aclose(self) -> None:
        """Nothing is open: the next session takes over what this one has read."""
