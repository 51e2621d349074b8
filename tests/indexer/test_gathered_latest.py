"""Queries for newest values that come together are asked for together, and judged one by one."""

import asyncio
from collections import Counter
from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import astuple

from corechain.protocol.provenance import provenance_of
from corechain.service.errors import StoreUnavailable
from corechain_indexer.api import rows, schemas
from corechain_indexer.store import SQL
from corechain_indexer.store.latest import key_of, newest_in
from indexer.shelves import DEVICES, filled, shelf_on

EACH = 20


async def test_a_crowd_is_one_question_and_a_doubtful_device_spoils_no_other(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        await filled(shelf)
        await shelf.export()
        await shelf.redis.delete(key_of(DEVICES[1]))
        shelf.reasons.clear()
        before = (await shelf.redis.info("commandstats")).get("cmdstat_hgetall", {"calls": 0})[
            "calls"
        ]
        asked = DEVICES * EACH
        found = await asyncio.gather(*(shelf.latest.of(device) for device in asked))
        after = (await shelf.redis.info("commandstats")).get("cmdstat_hgetall", {"calls": 0})[
            "calls"
        ]
        known = await newest_in(shelf.pool, DEVICES)
        assert found == [list(known[device]) for device in asked]
        assert Counter(shelf.reasons) == {"missing": EACH}
        assert after - before == len(DEVICES)


async def test_a_crowd_that_finds_the_cache_away_is_one_question_to_the_database(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        await filled(shelf)
        await shelf.redis.flushall()
        counted = _Counted(shelf.pool)
        shelf.latest.pool = cast(Any, counted)
        shelf.latest.breaker.away_until = float("inf")
        asked = DEVICES * EACH
        found = await asyncio.gather(*(shelf.latest.of(device) for device in asked))
        known = await newest_in(shelf.pool, DEVICES)
        assert found == [list(known[device]) for device in asked]
        assert Counter(shelf.reasons) == {"away": len(asked)}
        assert counted.questions == 1


async def test_who_leaves_does_not_take_the_answer_from_the_others(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        await filled(shelf)
        await shelf.export()
        leaving, staying = (asyncio.create_task(shelf.latest.of(DEVICES[0])) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        known = await newest_in(shelf.pool, DEVICES[:1])
        assert await staying == list(known[DEVICES[0]])


async def test_an_outage_of_the_database_is_said_to_all_who_wait_and_the_next_are_answered(
    database: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        await filled(shelf)
        await shelf.export()
        asked = [shelf.latest.of(device) for device in DEVICES * 2]
        with monkeypatch.context() as patched:
            patched.setattr(shelf.latest, "pool", _Away())
            found = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(error) for error in found} == {StoreUnavailable}
        assert await shelf.latest.of(DEVICES[0])


async def test_while_nothing_changes_postgres_is_asked_only_whether_anything_has(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        await filled(shelf)
        await shelf.export()
        await shelf.is_honest()
        counted = _Counted(shelf.pool)
        shelf.latest.pool = cast(Any, counted)
        for device in DEVICES:
            assert await shelf.latest.of(device)
        assert counted.asked_for == {SQL["cache_state"]: len(DEVICES)}


async def test_what_is_known_of_batches_ends_with_every_change(database: str, bus_url: str) -> None:
    async with shelf_on(database, bus_url) as shelf:
        await filled(shelf)
        await shelf.export()
        (first,) = {value.finality for value in await shelf.latest.of(DEVICES[1])}
        for finality, safe, final in (("safe", 3, 1), ("finalised", 3, 3)):
            await shelf.pool.execute("update chain_mark set safe = $1, final = $2", safe, final)
            found = await shelf.latest.of(DEVICES[1])
            assert {value.finality for value in found} == {finality} != {first}
        await shelf.undo(2)
        assert await shelf.latest.of(DEVICES[1]) == await shelf.truth(DEVICES[1])
        assert shelf.reasons == ["stale"]


async def test_answers_are_the_bytes_that_rows_of_postgres_make(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        await filled(shelf)
        await shelf.export()
        for device in DEVICES:
            values = [schemas.Newest(*astuple(value)) for value in await shelf.truth(device)]
            whole = schemas.Latest("0x" + device.hex(), values, provenance_of(device))
            found = rows.latest(device, await shelf.latest.json_of(device))
            assert bytes(found) == msgspec.json.encode(whole)
            bounded = rows.latest(device, await shelf.latest.json_up_to(device, 3))
            assert bytes(bounded) == bytes(found)
        assert shelf.reasons == []


class _Away:
    """A pool whose server is gone."""

    async def fetchrow(self, *arguments: object) -> None:
        raise ConnectionRefusedError


class _Counted:
    """A pool that counts what it is asked."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self.asked_for = Counter[str]()

    @property
    def questions(self) -> int:
        return self.asked_for.total()

    async def fetch(self, query: str, *arguments: Any) -> Any:
        self.asked_for[query] += 1
        return await self._pool.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        self.asked_for[query] += 1
        return await self._pool.fetchrow(query, *arguments)
