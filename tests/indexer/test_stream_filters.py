"""Subscribers who want some devices, metrics or cells: each has what its filter asks for, once and
in order, and its cursor is a place in the whole log.
"""

import asyncio
import random
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from support.processes import PATIENCE_S, until
from websockets.asyncio.client import ClientConnection, connect

from corechain import AsyncClient, Client, Deployment
from corechain.protocol.vocabulary import BY_CODE
from corechain.service.errors import StoreUnavailable
from corechain_indexer.api import newest as tail
from corechain_indexer.api import stream as module
from corechain_indexer.api import subscribers
from corechain_indexer.store.contents import BatchContents, Contents, Filter
from corechain_indexer.store.events import BatchEvent
from indexer.event_books import Held
from indexer.served_streams import PLAIN, Served, closing, hear, refused, serving, story

DEVICES = [bytes([n]) * 20 for n in range(1, 5)]
METRICS = sorted(BY_CODE)[:3]
CELLS = [0x872A1072BFFFFFF, 0x872A1072CFFFFFF, 0x872A10728FFFFFF]
ONE, OTHER = (DEVICES[0], METRICS[0], CELLS[0]), (DEVICES[1], METRICS[1], CELLS[1])
END = DEVICES[3], METRICS[2], CELLS[2]


def texts(wanted: Filter) -> dict[str, str]:
    """The parameters that ask for it."""
    found = {
        "device": ["0x" + device.hex() for device in wanted.devices],
        "metric": [str(code) for code in wanted.metrics],
        "cell": [f"{cell:015x}" for cell in wanted.cells],
    }
    return {name: ",".join(values) for name, values in found.items() if values}


def matches(wanted: Filter, held: Held) -> bool:
    device, metric, cell = held
    return (
        (not wanted.devices or device in wanted.devices)
        and (not wanted.metrics or metric in wanted.metrics)
        and (not wanted.cells or cell in wanted.cells)
    )


def some(rng: random.Random, values: list[Any]) -> frozenset[Any]:
    return frozenset(rng.sample(values, rng.choice([0, 0, 1, 1, 2])))


def filters(rng: random.Random) -> list[Filter]:
    found = [Filter(some(rng, DEVICES), some(rng, METRICS), some(rng, CELLS)) for _ in range(30)]
    return [Filter(frozenset(DEVICES)), *(wanted for wanted in found if wanted)]


def holding(rng: random.Random) -> list[Held]:
    several = range(rng.randint(1, 3))
    return [(rng.choice(DEVICES), rng.choice(METRICS), rng.choice(CELLS)) for _ in several]


async def told(connection: ClientConnection, last: int) -> list[tuple[str, int]]:
    """All until the `undone` of the last batch, which everybody is sent."""
    found: list[tuple[str, int]] = []
    while ("undone", last) not in found:
        found += await story(connection, 1)
    return found


async def test_each_has_what_its_filter_asks_for_live_and_after_a_resume(
    tables: str, bus_url: str
) -> None:
    rng = random.Random(11)
    wanted, batches = filters(rng), [holding(rng) for _ in range(30)]
    async with serving(tables, bus_url) as served:
        served.stream.max_subscribers = 1_000
        begin = (await served.books.log.cursor(0)).text
        urls = [served.url(since=begin, **texts(one)) for one in wanted]
        live = [await connect(url) for url in urls]
        for holds in batches:
            await served.books.verify(holds=holds)
        await served.books.finalise(20)
        await served.books.tell()
        await until(lambda: all(one.position == 50 for one in served.stream._subscribers))
        await served.books.undo(29)
        await served.books.tell()
        later = [await connect(url) for url in urls]
        for one, *connections in zip(wanted, live, later, strict=True):
            held = [
                number for number, holds in enumerate(batches, 1)
                if any(matches(one, item) for item in holds)
            ]  # fmt: skip
            kept = [("new", number) for number in held if number < 30]
            final = [("final", number) for number in held if number <= 20]
            # The last batch is gone: whoever comes later is told of its coming, as nobody knows any
            # more what was in it, and of its end.
            gone = [("new", 30)]
            expected = [kept + (gone if 30 in held else []), kept + gone]
            for connection, begun in zip(connections, expected, strict=True):
                assert (await hear(connection))["type"] == "start"
                assert await told(connection, 30) == [*begun, *final, ("undone", 30)]
                await connection.close()
        assert await served.places_taken(0)
        assert not served.stream._groups


async def test_a_batch_whose_contents_nobody_knows_is_sent_to_everybody(
    tables: str, bus_url: str
) -> None:
    query = texts(Filter(frozenset(DEVICES[:1])))
    async with serving(tables, bus_url) as served, connect(served.url(**query)) as subscriber:
        await hear(subscriber)
        await served.books.verify(holds=[])
        await served.books.verify(holds=[OTHER])
        await served.books.verify(holds=[])
        await served.books.pool.execute("update batch_file set reading_count = 0 where batch_id=3")
        await served.books.verify(holds=[ONE])
        await served.books.tell()
        assert await story(subscriber, 2) == [("new", 1), ("new", 4)]


async def test_a_cursor_moves_on_over_events_that_are_not_sent(
    tables: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.05)
    query = texts(Filter(metrics=frozenset(METRICS[:1])))
    async with serving(tables, bus_url) as served, httpx.AsyncClient() as client:
        async with client.stream("GET", served.http(**query)) as response:
            lines = aiter(response.aiter_lines())
            while not (await anext(lines)).startswith("id: "):
                pass
            for holds in ([OTHER], [OTHER], [OTHER]):
                await served.books.verify(holds=holds)
            await served.books.tell()
            third = (await served.books.log.cursor(3)).text
            async with asyncio.timeout(PATIENCE_S):
                while (line := await anext(lines)) != f"id: {third}":
                    assert not line.startswith("data: ")
        # Pings would end a connection whose machine is busy for a moment.
        monkeypatch.setattr(module, "HEARTBEAT_S", PATIENCE_S)
        await served.books.verify(holds=[ONE])
        await served.books.tell()
        async with connect(served.url(since=third, **query)) as subscriber:
            assert (await hear(subscriber))["cursor"] == third
            while (said := await hear(subscriber))["type"] == "position":
                pass
            assert (said["type"], said["id"]) == ("new", 4)


class Away(BatchContents):
    """Postgres does not answer."""

    async def of(self, events: Any, filters: Collection[Filter]) -> Contents:
        raise StoreUnavailable("away")


@dataclass(frozen=True, kw_only=True)
class Slow(BatchContents):
    """Postgres answers when the gate is open."""

    gate: asyncio.Event

    async def of(self, events: Any, filters: Collection[Filter]) -> Contents:
        await self.gate.wait()
        return await super().of(events, filters)


async def test_while_postgres_is_away_only_those_with_a_filter_wait(
    tables: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.02)
    query = texts(Filter(frozenset(DEVICES[:1])))
    async with (
        serving(tables, bus_url) as served,
        connect(served.url(**query)) as picky,
        connect(served.url()) as other,
    ):
        begin = (await hear(picky))["cursor"]
        await hear(other)
        at_hand = served.stream.contents
        served.stream.contents = Away(served.books.pool)
        for holds in ([OTHER], [ONE]):
            await served.books.verify(holds=holds)
        await served.books.tell()
        assert await story(other, 2) == [("new", 1), ("new", 2)]
        async with connect(served.url(since=begin, **query)) as resumed:
            await hear(resumed)  # the greeting
            assert await closing(resumed) == subscribers.TRY_AGAIN_LATER
        served.stream.contents = at_hand
        assert await story(picky, 1) == [("new", 2)]


async def test_who_has_waited_for_longer_than_events_are_kept_is_brought_up_from_the_log(
    tables: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.02)
    monkeypatch.setattr(tail, "KEPT", 3)
    query = texts(Filter(frozenset(DEVICES[:1])))
    async with serving(tables, bus_url) as served, connect(served.url(**query)) as picky:
        begin = (await hear(picky))["cursor"]
        at_hand, gate = served.stream.contents, asyncio.Event()
        served.stream.contents = Slow(served.books.pool, gate=gate)
        for number in range(20):
            await served.books.verify(holds=[OTHER if number % 10 else ONE])
            await served.books.tell()
            await until(lambda at=number + 1: served.stream.newest.position == at)
        gate.set()
        assert await story(picky, 2) == [("new", 1), ("new", 11)]
        served.stream.contents = Away(served.books.pool)
        for _ in range(10):
            await served.books.verify(holds=[ONE])
            await served.books.tell()
        # Nothing can be kept for it any longer, and the log is of no use without the contents.
        assert await closing(picky) == subscribers.TRY_AGAIN_LATER
        served.stream.contents = at_hand
        async with connect(served.url(since=begin, **query)) as again:
            await hear(again)
            heard = [1, 11, *range(21, 31)]
            assert await story(again, len(heard)) == [("new", number) for number in heard]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"device": "0x12"}, 400),
        ({"device": ""}, 400),
        ({"cell": "8f"}, 400),
        ({"metric": "happiness"}, 422),
        ({"device": ",".join(f"0x{n:040x}" for n in range(65))}, 400),
        ({"device": ",".join(f"0x{n:040x}" for n in range(33)), "metric": "1,2"}, 400),
    ],
)
async def test_a_filter_that_nothing_can_meet_is_refused(
    tables: str, bus_url: str, query: dict[str, str], status: int
) -> None:
    async with serving(tables, bus_url) as served:
        await refused(served, query, status)


def urls(served: Served) -> tuple[str, str, str, Deployment]:
    url = f"http://127.0.0.1:{served.port}"
    return url, url, url, Deployment(31337, {})


async def test_both_clients_ask_for_what_they_want(tables: str, bus_url: str) -> None:
    async with serving(tables, bus_url) as served:
        begin = (await served.books.log.cursor(0)).text
        for holds in ([OTHER], [ONE], [END]):
            await served.books.verify(holds=holds)
        await served.books.tell()
        only: Any = {"device": [DEVICES[0], DEVICES[3].hex()], "metric": METRICS[0]}

        def read() -> BatchEvent | Any:
            with Client(*urls(served)) as client, client.stream(begin, **only) as stream:
                return next(stream)

        assert (await asyncio.to_thread(read)).batch_id == 2
        async with (
            AsyncClient(*urls(served)) as client,
            client.stream(begin, cell=CELLS[2]) as stream,
        ):
            assert (await anext(stream)).batch_id == 3


async def test_a_filter_is_none_of_the_first_clients(tables: str, bus_url: str) -> None:
    query = texts(Filter(frozenset(DEVICES[:1])))
    async with (
        serving(tables, bus_url) as served,
        connect(served.url(PLAIN, **query)) as subscriber,
    ):
        assert (await hear(subscriber))["type"] == "start"
