"""Threads of one role's own, for steps that would hold the event loop for too long.

asyncio's default pool is shared by all that run in a process: six threads of a gateway's there left
one of an aggregator's a seventh of the time, and frames were acknowledged that nobody could seal.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True)
class Workers:
    """At most `threads` steps at a time; the next one waits for its turn, in order of arrival."""

    name: str
    threads: int
    _pool: ThreadPoolExecutor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix=self.name)

    async def run(self, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What the step returns, or raises."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: step(*args, **kwargs))

    def close(self) -> None:
        """Steps under way end by themselves; those that wait are dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)


Waiting = tuple["Future[Any]", Callable[[], Any]]


@dataclass(slots=True, eq=False)
class LooseWorkers:
    """Threads that a process leaves behind at its end, for steps that may never come to theirs: on
    a mount whose server is away. A pool's threads are joined, so that no SIGTERM would end it."""

    name: str
    threads: int
    _waiting: "SimpleQueue[Waiting | None]" = field(default_factory=SimpleQueue)
    _idle: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _begun: int = 0

    async def run(self, step: Callable[[], R]) -> R:
        """What the step returns, or raises."""
        future: Future[R] = Future()
        self._waiting.put((future, step))
        if not self._idle.acquire(blocking=False) and self._begun < self.threads:
            self._begun += 1
            name = f"{self.name} {self._begun}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            future, step = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(step())
                except BaseException as error:  # whoever waits for the step hears it
                    future.set_exception(error)
            del item, future, step  # or the last result would stay until the next one comes
            self._idle.release()

    def close(self) -> None:
        """Steps under way end by themselves; those that wait are dropped."""
        try:
            while (item := self._waiting.get_nowait()) is not None:
                item[0].cancel()
        except Empty:
            pass
        for _ in range(self._begun):
            self._waiting.put(None)
