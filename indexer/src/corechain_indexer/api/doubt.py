"""A limit for answers that no slow query meets, and each query to a hung database does."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from corechain.service.errors import StoreUnavailable

T = TypeVar("T")
DOUBT_S = 3.0
"""An answer that takes longer makes us ask whether the database is there at all."""
AGAIN_S = 1.0
SILENT_S = 5.0
"""Longer than `/ready` waits: a database under load answers `select 1` late, but does."""


async def answered(answer: Awaitable[T], is_silent: Callable[[float], Awaitable[bool]]) -> T:
    """What is awaited, unless the database goes away meanwhile: a long answer alone is no outage.

    `is_silent`: whether the database gives no answer in so many seconds. Raises StoreUnavailable.
    """
    watch: asyncio.Task[None] | None = None

    def doubt() -> None:
        nonlocal watch
        watch = loop.create_task(_watch(limit, is_silent))

    loop = asyncio.get_running_loop()
    timer = loop.call_later(DOUBT_S, doubt)  # a task for each request would cost more
    try:
        async with asyncio.timeout(None) as limit:
            return await answer
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise StoreUnavailable("Postgres does not answer") from error
    finally:
        timer.cancel()
        if watch is not None:
            watch.cancel()


async def _watch(limit: asyncio.Timeout, is_silent: Callable[[float], Awaitable[bool]]) -> None:
    while True:
        if await is_silent(SILENT_S):
            break
        await asyncio.sleep(AGAIN_S)
    with suppress(RuntimeError):  # the answer came in the same moment
        limit.reschedule(asyncio.get_running_loop().time())
