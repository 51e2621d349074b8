"""Nodes differ for moments: what one has not seen yet ends no session, which would lose what the
loop has found out."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from corechain.service.errors import NodeBehind

log = structlog.get_logger(__name__)

T = TypeVar("T")

BEHIND_LIMIT_S = 5.0
"""A node that has not come so far by then is an outage."""


@dataclass(slots=True)
class Moments:
    """Of one loop: since when none of its rounds came to its end for want of what the node has not
    seen."""

    since: float | None = None

    async def borne(self, round_: Awaitable[T], otherwise: T) -> T:
        """What a round brings; `otherwise` where the node is behind. Raises NodeBehind only once
        that has lasted."""
        try:
            found = await round_
        except NodeBehind as error:
            now = time.monotonic()
            if self.since is None:
                self.since = now
                log.info("the node is behind: it is asked again", why=str(error))
            if now - self.since >= BEHIND_LIMIT_S:
                raise
            return otherwise
        self.since = None
        return found


async def rounds_forever(round_: Callable[[], Awaitable[None]], poll_s: float) -> None:
    """Round after round. Raises what one raises; NodeBehind where that lasts."""
    moments = Moments()
    while True:
        await moments.borne(round_(), None)
        await asyncio.sleep(poll_s)
