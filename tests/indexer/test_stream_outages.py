"""Subscribers while something goes away: each has every event after its cursor once, in order."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.processes import PATIENCE_S, until
from support.valkey import command
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from corechain.devnet.servers import ValkeyServer
from corechain.service.errors import StoreUnavailable
from corechain_indexer.api import newest as tail
from corechain_indexer.api import stream as module
from corechain_indexer.api import subscribers
from corechain_indexer.store.events import BatchEvent, EventLog, LogHead
from indexer.event_books import books_on
from indexer.served_streams import Served, closing, hear, served_on, serving, story


class AwayLog(EventLog):
    """Postgres does not answer."""

    async def head(self) -> LogHead:
        raise StoreUnavailable("away")

    async def after(self, number: int, limit: int) -> list[BatchEvent]:
        raise StoreUnavailable("away")


@dataclass
class Reader:
    """Reads events from a cursor on, in connections that end at any moment."""

    served: Callable[[], Served]
    cursor: str
    heard: list[int] = field(default_factory=list)
    _pass_s: float = 0.02

    async def read(self, until_event: int) -> None:
        """As a client would: again from the last cursor, whatever ended the connection."""
        while not self.heard or self.heard[-1] < until_event:
            with suppress(ConnectionClosed, OSError):
                async with connect(self.served().url(since=self.cursor)) as connection:
                    await self._read_some(connection, until_event)

    async def _read_some(self, connection: ClientConnection, until_event: int) -> None:
        while not self.heard or self.heard[-1] < until_event:
            said = json.loads(await connection.recv())
            assert said["type"] in ("start", "new", "undone", "final"), said
            self.cursor = said["cursor"]
            if said["type"] != "start":
                self.heard.append(said["id"])


@asynccontextmanager
async def reading(served: Callable[[], Served], until_event: int) -> AsyncIterator[Reader]:
    reader = Reader(served, (await served().books.log.cursor(0)).text)
    task = asyncio.create_task(reader.read(until_event))
    try:
        yield reader
        async with asyncio.timeout(PATIENCE_S):
            await task
    finally:
        task.cancel()
    assert reader.heard == list(range(1, until_event + 1))


async def test_nothing_is_missed_or_told_twice_while_redis_loses_everything_and_goes_away(
    tmp_path: Path, tables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "AWAY_S", 0.2)
    with ValkeyServer(tmp_path / "valkey") as valkey:
        async with serving(tables, valkey.url) as served:
            async with reading(lambda: served, 50) as reader:
                await served.verified(10)
                await until(lambda: len(reader.heard) == 10)
                command(valkey.port, "FLUSHALL")
                await served.verified(10)
                valkey.kill()
                for _ in range(10):
                    await served.books.verify()
                await served.books.number()
                # By Postgres alone: nobody had to connect again.
                await until(lambda: len(reader.heard) == 30)
                for _ in range(20):
                    await served.books.verify()
                await served.books.number()
                valkey.start()
                await served.books.pass_on_after_outage()
            assert served.dropped("interrupted") == 0


async def test_nothing_is_missed_while_the_api_restarts_and_a_reorg_comes_meanwhile(
    tables: str, bus_url: str
) -> None:
    async with books_on(tables, bus_url) as books:
        cursor = (await books.log.cursor(0)).text
        async with served_on(books) as served, connect(served.url(since=cursor)) as subscriber:
            await hear(subscriber)
            await served.verified(2)
            assert await story(subscriber, 2) == [("new", 1), ("new", 2)]
        cursor = (await books.log.cursor(2)).text
        # Nobody serves; what was read is taken back.
        await books.undo(0)
        await books.verify()
        await books.tell()
        async with served_on(books) as served, connect(served.url(since=cursor)) as subscriber:
            await hear(subscriber)
            heard = await story(subscriber, 3)
            # One reorg, one moment: in whichever order Postgres deletes.
            assert sorted(heard[:2]) == [("undone", 1), ("undone", 2)]
            assert heard[2] == ("new", 1)


async def test_whoever_is_connected_stays_and_misses_nothing_while_postgres_is_away(
    tables: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tables, bus_url) as served, connect(served.url()) as subscriber:
        cursor = (await hear(subscriber))["cursor"]
        await served.verified(2)
        assert await story(subscriber, 2) == [("new", 1), ("new", 2)]
        served.stream.newest.log = AwayLog(served.books.pool)
        served.stream.newest.kept.clear()
        # It needs Postgres, which is away.
        async with connect(served.url(since=cursor)) as other:
            assert (await hear(other))["type"] == "urn:corechain:error:Unavailable"
            assert await closing(other) == subscribers.TRY_AGAIN_LATER
        await served.verified()
        assert await story(subscriber, 1) == [("new", 3)]


async def test_a_log_that_was_made_anew_ends_every_stream_of_the_old_one(
    tables: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "BLOCK_MS", 50)
    async with serving(tables, bus_url) as served:
        await served.verified()
        async with connect(served.url()) as subscriber:
            cursor = (await hear(subscriber))["cursor"]
            await served.books.log.renew()
            assert await closing(subscriber) == subscribers.SERVICE_RESTART
        assert served.dropped("interrupted") == 1
        async with connect(served.url(since=cursor)) as again:
            assert (await hear(again))["type"] == "urn:corechain:error:CursorUnknown"


async def test_a_subscriber_far_behind_is_brought_up_from_postgres_while_events_come(
    tables: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "KEPT", 10)
    monkeypatch.setattr(module, "PAGE", 7)
    async with serving(tables, bus_url) as served:
        await served.verified(60)
        await until(lambda: served.stream.newest.position == 60)
        async with reading(lambda: served, 90):
            for _ in range(6):
                await served.verified(5)
