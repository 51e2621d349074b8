"""Lets requests that arrive together share a frame: one verification, one durable write.

When nothing is under way a request goes at once. While frames are, those that come are gathered;
so load makes frames larger, and idle time makes answers faster, without anybody choosing.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from corechain.protocol.frame import Columns, columns_of
from corechain.service.tracing import CURRENT, Context
from corechain_relayer.gateway.intake import Fault
from corechain_relayer.gateway.pace import Pace
from corechain_relayer.metrics import Metrics
from corechain_relayer.receipts.wish import Wish

FRAMES_UNDER_WAY = 4
"""Verification of one, the disk of another, and two that change places."""
FRAME_REPORTS = 1_000
"""A frame is closed when it has so many: 20 to 50 ms of verification. A request that has more by
itself is one frame all the same."""

Outcome = list[Fault] | Exception
"""One fault a report, None for those that are durable; or why the request as a whole has none."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A request's packed reports, and who is told of them: a call, and no future, as most requests
    have no task that could wait. `columns`, where somebody has parsed them already."""

    packed: bytes
    count: int
    done: Callable[[Outcome], None]
    columns: Columns | None = None
    is_settled: bool = False
    mark: Context | None = None
    """Of a sampled request."""
    wish: Wish | None = None
    """Of a request that asks for receipts."""

    def settle(self, outcome: Outcome) -> None:
        """The first outcome counts."""
        if not self.is_settled:
            self.is_settled = True
            self.done(outcome)


@dataclass(slots=True)
class Gatherer:
    """`work` takes the requests of one frame and settles each; what it raises, all of them get."""

    work: Callable[[Sequence[Waiting]], Awaitable[None]]
    gather_s: float
    metrics: Metrics
    pace: Pace = field(default_factory=Pace)
    _waiting: deque[Waiting] = field(default_factory=deque)
    _reports: int = 0
    """Of all that wait."""
    _under_way: "set[asyncio.Task[None]]" = field(default_factory=set)
    _timer: asyncio.TimerHandle | asyncio.Handle | None = None

    async def take(self, columns: Columns, wish: Wish | None = None) -> list[Fault]:
        """One fault a report, None for those that are durable. Raises what the work raises."""
        done: asyncio.Future[list[Fault]] = asyncio.get_running_loop().create_future()
        resolve = partial(_resolve, done)
        self.put(Waiting(columns.packed, len(columns), resolve, columns, wish=wish))
        return await done

    def put(self, waiting: Waiting) -> None:
        """Settles it when its frame is done."""
        if self.metrics.traces.on:
            waiting.mark = CURRENT.get()
        self._waiting.append(waiting)
        self._reports += waiting.count
        if self._timer is None:
            self._schedule(asyncio.get_running_loop())

    def wait_s(self) -> float:
        """Estimated seconds until what comes now begins to be worked on; 0 while the next frame has
        room for it."""
        return self.pace.wait_s(self._reports)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            return
        if len(self._under_way) >= FRAMES_UNDER_WAY:
            # With less waiting, frames are not full: then their pace is that of who sends.
            if self._reports >= FRAME_REPORTS:
                self.pace.filled()
            return
        if self._under_way:
            self._timer = loop.call_later(self.gather_s, self._start)
        else:
            # Not in this very step: what came with the same look at the sockets goes along.
            self._timer = loop.call_soon(self._start)

    def _start(self) -> None:
        self._timer = None
        group = self._next_group()
        if not group:
            return
        self.metrics.frame_requests.observe(len(group))
        task = asyncio.get_running_loop().create_task(self._run(group))
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        if self._waiting:
            self._schedule(asyncio.get_running_loop())
        else:
            self.pace.caught_up()

    def _next_group(self) -> list[Waiting]:
        group: list[Waiting] = []
        size = 0
        while self._waiting:
            size += self._waiting[0].count
            if group and size > FRAME_REPORTS:
                break
            group.append(self._waiting.popleft())
        self._reports -= sum(waiting.count for waiting in group)
        return group

    async def _run(self, group: Sequence[Waiting]) -> None:
        try:
            await self.work(group)
        except Exception as error:  # nobody else hears of it: the requests do
            for waiting in group:
                waiting.settle(error)
        self.pace.ended(sum(waiting.count for waiting in group))

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        if not self._waiting:
            return
        if self._timer is not None and not self._under_way:
            # Nothing is left to wait for.
            self._timer.cancel()
            self._timer = None
        self._schedule(task.get_loop())


def _resolve(done: "asyncio.Future[list[Fault]]", outcome: Outcome) -> None:
    if done.done():  # its request was given up
        return
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)


def joined(parts: Sequence[Waiting]) -> Columns:
    """The columns of several requests, one behind the other."""
    if len(parts) == 1 and parts[0].columns is not None:
        return parts[0].columns
    # Parsed once a frame: natively that takes a tenth of the time that moving the offsets of each
    # request's columns takes.
    return columns_of(b"".join([part.packed for part in parts]))
