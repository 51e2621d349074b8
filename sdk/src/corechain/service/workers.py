"""Threads of one role's own, for steps that would hold the event loop for too long.

asyncio's default pool is shared by all that run in a process: six threads of a gateway's there left
one of an aggregator's a seventh of the time, and frames were acknowledged that nobody could seal.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

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
