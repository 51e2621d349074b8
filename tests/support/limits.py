"""A limit in time on something that a test waits for."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def within(limit_s: float, awaited: Awaitable[T]) -> T:
    """Raises TimeoutError. Not `asyncio.wait_for`: on Python 3.11 it may swallow a cancellation."""
    async with asyncio.timeout(limit_s):
        return await awaited
