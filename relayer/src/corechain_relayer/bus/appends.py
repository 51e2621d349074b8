"""Appends of concurrent requests, gathered for the round trip that they share."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from corechain.protocol.errors import CoreChainError
from corechain_relayer.bus.frame import PackedFrame
from corechain_relayer.errors import BusFull, BusUnavailable

GROUP_FRAMES, GROUP_BYTES = 256, 8 << 20
"""At most this much goes into one round trip."""
QUEUED_FRAMES = 4096
"""Requests that may wait for the round trip under way."""


@dataclass(slots=True)
class Waiting:
    """A frame on its way to the server, and whom its fate is told."""

    lane: int
    frame: PackedFrame
    fresh: bool
    limited: bool
    done: asyncio.Future[None]

    def settle(self, error: CoreChainError | None) -> None:
        """None: it is durable."""
        if self.done.done():  # its request was cancelled
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


Write = Callable[[Sequence[Waiting]], Awaitable[Sequence[CoreChainError | None]]]
"""None for a frame that is durable, else why it is not, or not known to be."""


class Sizes(Protocol):
    """A histogram."""

    def observe(self, amount: float) -> None: ...


def _queue() -> "asyncio.Queue[Waiting]":
    return asyncio.Queue(QUEUED_FRAMES)


@dataclass(slots=True)
class Appends:
    """In order of arrival."""

    _queue: "asyncio.Queue[Waiting]" = field(default_factory=_queue)

    async def put(self, lane: int, frame: PackedFrame, fresh: bool, limited: bool) -> None:
        """Returns when somebody has settled it. Raises its error, and BusFull."""
        done = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait(Waiting(lane, frame, fresh, limited, done))
        except asyncio.QueueFull:
            raise BusFull(f"{QUEUED_FRAMES} frames wait for the bus") from None
        await done

    async def carry_forever(self, write: Write, sizes: "Sizes") -> None:
        """Settles each group by what `write` says of its frames, in order."""
        while True:
            group = await self.next_group()
            sizes.observe(len(group))
            try:
                for waiting, error in zip(group, await write(group), strict=True):
                    waiting.settle(error)
            finally:
                # A mistake of ours, or the end of the process: nobody is to wait for ever.
                for waiting in group:
                    waiting.settle(BusUnavailable("whether the frame is there is unknown"))

    async def next_group(self) -> list[Waiting]:
        group = [await self._queue.get()]
        size = len(group[0].frame.content)
        while len(group) < GROUP_FRAMES and size < GROUP_BYTES and not self._queue.empty():
            group.append(self._queue.get_nowait())
            size += len(group[-1].frame.content)
        return group
