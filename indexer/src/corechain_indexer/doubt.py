"""A limit for answers that no slow query meets, and each query to a hung database does.

The first ones end after DOUBT_S + SILENT_S. From then on, until the database answers again, nobody
waits for longer than about twice AGAIN_S, or than the first where others may answer in its place.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from corechain.service.errors import StoreUnavailable

T = TypeVar("T")
DOUBT_S = 3.0
"""An answer that takes longer makes us ask whether the database is there at all."""
AGAIN_S = 1.0
SILENT_S = 5.0
"""Longer than `/ready` waits: a database under load answers `select 1` late, but does."""


@dataclass(slots=True)
class _Wait:
    """A task that waits for an answer."""

    task: "asyncio.Task[Any]"
    since: float
    cancelling: int
    """Of the task when it began: who else had cancelled it by then."""
    is_ended: bool = False


@dataclass(slots=True)
class Doubts:
    """`is_silent`: whether the database gives no answer in so many seconds. `goes_on`: whether
    others may answer in its place: of what they do not everything that is late is lost.

    One timer for all answers under way, not one each, which costs 20 µs of an answer's 400.
    """

    is_silent: Callable[[float], Awaitable[bool]]
    goes_on: Callable[[], bool] = lambda: False
    _waits: dict[int, _Wait] = field(default_factory=dict)
    """In the order of their beginnings."""
    _number: int = 0
    _loop: "asyncio.AbstractEventLoop | None" = None
    """Where the answers run, from the first one on: before Python 3.12 each question which loop
    runs is a system call."""
    _timer: asyncio.TimerHandle | None = None
    _watching: "asyncio.Task[None] | None" = None

    async def answered(self, answer: Awaitable[T]) -> T:
        """What is awaited, unless the database goes away meanwhile: a long answer alone is no
        outage. Raises StoreUnavailable."""
        loop = self._loop = self._loop or asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None, "awaited by a task"
        self._number = number = self._number + 1
        wait = self._waits[number] = _Wait(task, loop.time(), task.cancelling())
        if self._timer is None and self._watching is None:
            self._timer = loop.call_later(DOUBT_S, self._doubt)
        try:
            return await answer
        except asyncio.CancelledError:
            # As `asyncio.timeout` does: a cancellation of somebody else's stays one.
            if wait.is_ended and task.uncancel() <= wait.cancelling:
                raise StoreUnavailable("Postgres does not answer") from None
            raise
        finally:
            del self._waits[number]

    def _doubt(self) -> None:
        self._timer = None
        if not self._waits:
            return  # the next answer sets it anew
        loop = asyncio.get_running_loop()
        left = next(iter(self._waits.values())).since + DOUBT_S - loop.time()
        if left > 0:
            self._timer = loop.call_later(left, self._doubt)
        else:
            self._watching = loop.create_task(self._watch())
            self._watching.add_done_callback(self._watched)

    async def _watch(self) -> None:
        """Until no answer is late, or those that were late are ended."""
        loop = asyncio.get_running_loop()
        while late := self._since(loop.time() - DOUBT_S):
            if await self.is_silent(SILENT_S):
                self._end(late)
                await self._until_it_answers()
                return
            await asyncio.sleep(AGAIN_S)

    async def _until_it_answers(self) -> None:
        sweeping = asyncio.create_task(self._sweep_forever())
        try:
            while await self.is_silent(SILENT_S):  # noqa: ASYNC110 (nobody tells us)
                await asyncio.sleep(AGAIN_S)
        finally:
            sweeping.cancel()

    async def _sweep_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            # Where others answer, some still wait for the database itself: as long as the first.
            late_s = DOUBT_S + SILENT_S if self.goes_on() else AGAIN_S
            self._end(self._since(loop.time() - late_s))
            await asyncio.sleep(AGAIN_S)

    def _since(self, time: float) -> list[int]:
        """Those that wait since before a time."""
        return [number for number, wait in self._waits.items() if wait.since <= time]

    def _end(self, numbers: Sequence[int]) -> None:
        for wait in filter(None, map(self._waits.get, numbers)):  # none: its answer has just come
            # A second cancellation would be left over when the first one was heard.
            if not wait.is_ended:
                wait.is_ended = True
                wait.task.cancel()

    def _watched(self, task: "asyncio.Task[None]") -> None:
        self._watching = None
        if not task.cancelled():
            task.exception()  # of `is_silent`, which raises nothing that an outage could be
        self._doubt()
