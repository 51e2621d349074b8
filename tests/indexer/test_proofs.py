"""Proofs with pages of readings: from the real API, checked by the SDK against the real chain.

given verified batches
  ├── a page with proofs is proven by the SDK, whatever its filters and size
  ├── a statistic asks the database three times
  ├── a batch that changed while the answer was made is "ask again", never a wrong proof
  └── without `proofs` there are none
"""

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest
import pytest_asyncio
from support.flows import carried_out
from support.processes import PATIENCE_S

from corechain import flows
from corechain.answers import parse_proven_reading, parse_statistics
from corechain.devnet.settings import PAYEE_KEY
from corechain.protocol.reading import DeviceId
from corechain.protocol.vocabulary import BY_CODE, metric
from corechain.readings import ReadingsQuestion, parse_page
from corechain.steps import Request
from corechain_indexer.api.proofs import ReadingProver
from corechain_indexer.api.statistics import Question, StatisticsReader
from corechain_indexer.api.trees import TreeCache
from corechain_indexer.errors import Unavailable
from corechain_indexer.store import SQL
from corechain_indexer.store.pages import PageOf, readings_page
from indexer.support import START, Driven, World, device_of, driven, get, settings_of

DAY_S = 86_400


@pytest_asyncio.fixture
async def served(world: World, indexer: Driven) -> Driven:
    for _ in range(3):
        world.add(hours=5)
    await indexer.settle()
    return indexer


def question(world: World, **changes: object) -> ReadingsQuestion:
    device = DeviceId(world.keys[0].identity.device)
    return ReadingsQuestion(device, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [1, 7, 1000])
async def test_pages_with_proofs_are_proven_on_the_chain(
    world: World, served: Driven, limit: int
) -> None:
    loop = asyncio.get_running_loop()
    requests = []
    async with served.api() as api:

        def answer(request: Request) -> object:
            requests.append(request)
            params = {**request.params, "limit": min(limit, int(request.params["limit"]))}
            asked = get(api, request.path, **params)
            return asyncio.run_coroutine_threadsafe(asked, loop).result(PATIENCE_S)

        for asked, rows in (
            (question(world), 30),
            (question(world, metric=metric("pressure")), 15),
            (question(world, start=START + DAY_S, end=START + 2 * DAY_S), 12),
        ):
            flow = flows.readings(asked, 1000, world.chain.commitments_of)
            found = await asyncio.to_thread(carried_out, flow, answer)
            assert len(found) == rows
            assert len(requests) == -(-rows // limit)
            requests.clear()


async def test_a_batch_that_changed_meanwhile_is_ask_again(world: World, served: Driven) -> None:
    pool = served.indexer.pool
    device = world.keys[0].identity.device
    rows = await readings_page(pool, PageOf(device, 1, 0, 2**40 - 1), 100)
    prover = ReadingProver(pool, TreeCache(pool, 1 << 20))
    changed = [*rows[:-1], rows[-1]._replace(value=rows[-1].value + 1)]
    with pytest.raises(Unavailable, match="ask again"):
        await prover.prove(changed)
    beyond = [rows[0]._replace(position=10_000), *rows[1:]]
    with pytest.raises(Unavailable, match="ask again"):
        await prover.prove(beyond)
    await pool.execute("delete from batch_file where batch_id = 2")
    with pytest.raises(Unavailable, match="ask again"):
        await prover.prove(rows)


async def test_a_statistic_whose_trees_are_known_is_three_questions(
    world: World, served: Driven
) -> None:
    pool = _Counted(served.indexer.pool)
    reader = StatisticsReader(cast(Any, pool), TreeCache(cast(Any, pool), 1 << 20))
    device = world.keys[0].identity.device
    asked_for = Question(BY_CODE[1], device, None, 0, 2**40 - 1)
    first = await reader.answer(asked_for)
    pool.asked.clear()
    assert await reader.answer(asked_for) == first
    assert first.count > 0
    # Where the device was and which batches hold it; whether they stand; the leaves at their edges.
    wanted = [SQL[name] for name in ("whereabouts", "verified_between", "leaf_blocks")]
    assert pool.asked == wanted


async def test_a_statistic_of_a_short_time_in_one_batch_is_two_questions(
    world: World, served: Driven
) -> None:
    pool = _Counted(served.indexer.pool)
    reader = StatisticsReader(cast(Any, pool), TreeCache(cast(Any, pool), 1 << 20))
    # All batches are of one lane: one is taken out of it, as a device of another lane has it.
    await served.indexer.pool.execute("delete from segment where batch_id <> 2")
    device = world.keys[0].identity.device
    times = "select min(first_at), max(last_at) from segment where device = $1 and metric = 1"
    (first, last) = (await pool.fetch(times, device))[0]
    short = Question(BY_CODE[1], device, None, first, last)
    answer = await reader.answer(short)
    pool.asked.clear()
    assert await reader.answer(short) == answer
    assert pool.asked == [SQL["segments_near"], SQL["leaf_blocks"]]
    # The same, asked for with a time that is too long to look at each segment.
    long = await reader.answer(replace(short, start=first - 3 * 86_400))
    assert [part.batch_id for part in answer.parts] == [part.batch_id for part in long.parts] == [2]
    assert (answer.count, answer.sum, answer.min, answer.max) == (
        long.count, long.sum, long.min, long.max,
    )  # fmt: skip
    assert answer.count > 0
    # A time within a run, which may hold none of it: then its leaves are looked at.
    assert last - first > 1
    pool.asked.clear()
    assert (await reader.answer(replace(short, start=first + 1, end=first + 1))).count == 0
    assert pool.asked[:2] == [SQL["segments_near"], SQL["whereabouts"]]


class _Counted:
    """A pool that remembers what it is asked."""

    def __init__(self, pool: Any) -> None:
        self._pool, self.asked = pool, list[str]()

    async def fetch(self, query: str, *arguments: Any) -> Any:
        self.asked.append(query)
        return await self._pool.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        self.asked.append(query)
        return await self._pool.fetchrow(query, *arguments)


async def test_without_proofs_there_are_none(world: World, served: Driven) -> None:
    async with served.api() as api:
        plain = await get(api, "/v1/readings", device=device_of(world))
        assert "proofs" not in plain
        off = await get(api, "/v1/readings", device=device_of(world), proofs="false")
        assert off == plain
        problem = await get(api, "/v1/readings", 400, device=device_of(world), proofs="maybe")
        assert problem["type"].endswith("InvalidQuery")


async def test_proofs_ride_with_the_paid_answer(world: World, database: str, bus_url: str) -> None:
    """Without payment neither readings nor proofs: the price is the page's, not the proofs'."""
    settings = settings_of(world, database, bus_url, price_per_query=10, payee_key=PAYEE_KEY)
    async with driven(settings, world) as running:
        world.add()
        await running.settle()
        async with running.api() as api:
            refused = await get(api, "/v1/readings", 402, device=device_of(world), proofs="true")
            assert refused["type"].endswith("PaymentRequired")


async def test_a_proven_page_is_what_the_types_say(world: World, served: Driven) -> None:
    async with served.api() as api:
        page = parse_page(await get(api, "/v1/readings", device=device_of(world), proofs="true"))
        assert set(page.proofs) == {1, 2, 3}
        blocks = {batch: proof.block for batch, proof in page.proofs.items()}
        for batch, block in blocks.items():
            assert (await get(api, f"/v1/batches/{batch}"))["block"] == block
        single = await get(api, "/v1/batches/2/readings/0/proof")
        assert parse_proven_reading(single, 2).block == blocks[2]
        asked = {"device": device_of(world), "metric": "pressure"}
        assert parse_statistics(await get(api, "/v1/statistics", **asked)).batches == blocks
