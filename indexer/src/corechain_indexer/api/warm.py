"""What a process does once, before its first query, so that the first costs no more than others.

A connection takes 5 ms to open, a statement 2 ms to be prepared on it, and Postgres plans it anew
for each of its first five uses; the trees of a batch are read when they are first asked for. At
thousands of queries a second all of that would come in the first second.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

import structlog
from starlette.requests import Request

from corechain.protocol.errors import ProtocolError, TransportError
from corechain.service.readers import Readers
from corechain_indexer.api.handlers import Handlers
from corechain_indexer.api.params import Params
from corechain_indexer.store.levels import LevelStore
from corechain_indexer.store.page_groups import LARGE
from corechain_indexer.store.reads import Reads
from corechain_indexer.store.series_groups import Wanted, whole_series

log = structlog.get_logger(__name__)

PLANNED = 6
"""Times that each question is asked on each connection: from then on Postgres keeps a plan."""
NOBODY, DAY_S = bytes(20), 86_400
LIMIT_S = 10.0
"""It takes half a second. A store that is slow to answer these will be slow to answer others."""


@dataclass(frozen=True, slots=True)
class Warming:
    """Asks what queries will ask, about devices that nobody has."""

    handlers: Handlers
    readers: Readers
    _numbers: Iterator[int] = field(default_factory=count)

    async def run(self) -> None:
        """Raises nothing that an outage could be: queries will say what is wrong."""
        try:
            async with asyncio.timeout(LIMIT_S):
                await self.handlers.trees.preload()
                for _ in range(PLANNED):
                    for question in self._questions():
                        await self.readers.warmed(question)
        except (TransportError, ProtocolError, TimeoutError) as error:
            log.info("begins cold", error=str(error) or type(error).__name__)

    def _questions(self) -> list[Callable[[], Awaitable[object]]]:
        handlers, levels = self.handlers, LevelStore(self.handlers.pool, self.handlers.archive)
        reads = Reads(handlers.pool)
        return [
            lambda: handlers.latest(self._of_a_device()),
            handlers.latest_values.prepare,
            lambda: handlers.readings(self._of_a_device()),
            # Too large to be asked for with others, so that each connection has the statement.
            lambda: handlers.readings(self._of_a_device(f"&limit={LARGE}")),
            lambda: handlers.series(self._of_a_device("&metric=1")),
            # By itself: who asks at the same time is answered by one connection.
            lambda: whole_series(handlers.pool, [Wanted(NOBODY, 1, 0, 0, DAY_S, 1)]),
            lambda: handlers.statistics(self._of_a_device("&metric=1")),
            lambda: handlers.statistics(self._of_a_device("&metric=1&from=0&to=1")),
            lambda: handlers.status(_params("")),
            lambda: reads.batches(0, 1),
            lambda: reads.batch(0),
            lambda: reads.verified_between(0, 0),
            lambda: reads.headers_of([]),
            lambda: reads.change(),
            lambda: levels.of([]),
            lambda: levels.leaf_blocks([], []),
        ]

    def _of_a_device(self, more: str = "") -> Params:
        # Another one each time: who asks for the same at the same time is answered together.
        return _params(f"device=0x{next(self._numbers):040x}{more}")


def _params(query: str) -> Params:
    return Params(Request({"type": "http", "query_string": query.encode(), "headers": []}))
