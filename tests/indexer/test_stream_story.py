"""Whatever happens to chain, Redis, relay and subscribers, in whatever order: each subscriber has
every event once and in order, and what it derives from them is what Postgres holds.
"""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.processes import until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from corechain_indexer.store.events import EventLog
from indexer.event_books import KEY, Books, Held, books_on
from indexer.kept_tables import as_new
from indexer.served_streams import Served, served_on
from indexer.shelves import Fuse, Killed, Mortal

DEVICES = [bytes([n]) * 20 for n in range(3)]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("verify"), st.integers(1, 3)),
        st.tuples(st.just("reorg"), st.integers(1, 5)),
        st.tuples(st.just("finalise"), st.integers(1, 3)),
        st.tuples(st.just("number"), st.just(0)),
        st.tuples(st.just("tell"), st.just(0)),
        st.tuples(st.just("flush"), st.just(0)),
        st.tuples(st.just("die"), st.integers(0, 12)),
        st.tuples(st.just("turn"), st.integers(0, 1)),
    ),
    min_size=10,
    max_size=30,
)


def holding(batch: int) -> Held:
    """The commitment of a batch follows from its number, so its contents must."""
    return DEVICES[batch % 3], 1, 0


@dataclass
class Listener:
    """A subscriber that comes and goes, and keeps its cursor."""

    served: Served
    cursor: str
    query: dict[str, str]
    heard: list[dict[str, Any]] = field(default_factory=list)
    connection: ClientConnection | None = None
    reading: "asyncio.Task[None] | None" = None

    async def come(self) -> None:
        self.connection = await connect(self.served.url(since=self.cursor, **self.query))
        self.reading = asyncio.create_task(self._read(self.connection))

    async def _read(self, connection: ClientConnection) -> None:
        async for message in connection:
            said = json.loads(message)
            assert said["type"] in ("start", "position", "new", "undone", "final"), said
            self.cursor = said["cursor"]
            if "id" in said:
                self.heard.append(said)

    async def go(self) -> None:
        if self.reading is not None and self.connection is not None:
            self.reading.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await self.reading
            # Not by the task itself: one that is cancelled before its first step does nothing.
            await self.connection.close()
            self.reading = None

    async def turn(self) -> None:
        await (self.come() if self.reading is None else self.go())

    async def has(self, event: int) -> bool:
        """It comes again, whatever ended its connection."""
        if self.reading is None or self.reading.done():
            await self.go()
            await self.come()
        return bool(self.heard) and self.heard[-1]["id"] == event

    def derived(self) -> dict[int, tuple[str, bool]]:
        """Batches by id: block hash, and whether it is final."""
        found: dict[int, tuple[str, bool]] = {}
        for said in self.heard:
            if said["type"] == "undone":
                found.pop(said["batch_id"], None)
            else:
                found[said["batch_id"]] = said["block_hash"], said["type"] == "final"
        return found


@dataclass
class Story:
    books: Books
    listeners: list[Listener]
    final: int = 0

    async def verify(self, count: int) -> None:
        for _ in range(count):
            await self.books.verify(holds=[holding(self.books.head + 1)])

    async def reorg(self, depth: int) -> None:
        await self.books.undo(max(self.final, self.books.head - depth))

    async def finalise(self, blocks: int) -> None:
        self.final = min(self.books.head, self.final + blocks)
        await self.books.finalise(self.final)

    async def number(self, _: int) -> None:
        await self.books.number()

    async def tell(self, _: int) -> None:
        await self.books.tell()

    async def flush(self, _: int) -> None:
        await self.books.redis.delete(KEY)

    async def die(self, step: int) -> None:
        fuse = Fuse(step)
        self.books.relay.redis = Mortal(self.books.redis, fuse)  # type: ignore[assignment]
        self.books.relay.log = EventLog(Mortal(self.books.pool, fuse))  # type: ignore[arg-type]
        with suppress(Killed):
            await self.books.tell()
        self.books.restart_relay()

    async def turn(self, listener: int) -> None:
        await self.listeners[listener].turn()

    async def held(self) -> dict[int, tuple[str, bool]]:
        rows = await self.books.pool.fetch(
            "select batch_id, block_hash, block_number from batch join batch_file using (batch_id)"
        )
        return {
            row["batch_id"]: ("0x" + row["block_hash"].hex(), row["block_number"] <= self.final)
            for row in rows
        }


async def play(url: str, redis_url: str, steps: list[tuple[str, int]]) -> None:
    await as_new(url)
    async with books_on(url, redis_url) as books, served_on(books) as served:
        begin = (await books.log.cursor(0)).text
        device = {"device": "0x" + DEVICES[0].hex()}
        everything, some = Listener(served, begin, {}), Listener(served, begin, device)
        story = Story(books, [everything, some])
        for name, amount in steps:
            await getattr(story, name)(amount)
        # Something that everybody is told of ends it, behind what is still to become final.
        await story.tell(0)
        await story.verify(1)
        await story.reorg(1)
        await story.tell(0)
        newest = (await books.log.head()).newest
        try:
            for listener in story.listeners:
                await until(lambda one=listener: one.has(newest))
        finally:
            for listener in story.listeners:
                await listener.go()
        held = await story.held()
        assert [said["id"] for said in everything.heard] == list(range(1, newest + 1))
        assert everything.derived() == held
        numbers = [said["id"] for said in some.heard]
        assert numbers == sorted(set(numbers))
        assert some.derived() == {n: batch for n, batch in held.items() if n % 3 == 0}


@given(STEPS)
@settings(
    max_examples=8,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_each_has_every_event_once_and_derives_what_postgres_holds(
    kept_database: str, bus_url: str, steps: list[tuple[str, int]]
) -> None:
    asyncio.run(play(kept_database, bus_url, steps))
