"""Statistics of a region: from the real API, proven by the SDK on the real chain.

given batches of several days, at cells of several parents
  any window and region is proven, and is what counting the leaves finds
  as of a block only the batches up to it count
  what is no region is refused by name; an answer that would show too much is, too
"""

import asyncio
from random import Random
from typing import Any

import h3
import httpx
import pytest
import pytest_asyncio
from support.flows import carried_out
from support.processes import PATIENCE_S

from corechain.protocol.reading import READING_BYTES, Reading
from corechain.regions import RegionQuestion, region_statistics
from corechain.steps import Request
from corechain_indexer.api import regions, statistics
from indexer.support import HOUR_S, START, Driven, World, device_of, get

DAY_S, DAYS = 86_400, 5
PARENTS = ("862a1072fffffff", "862a10727ffffff")
CELLS = [int(cell, 16) for one in PARENTS for cell in h3.cell_to_children(one, 7)[:2]]


@pytest_asyncio.fixture
async def served(world: World, indexer: Driven) -> Driven:
    """A batch a day after the first, which has more than two days: four blocks of 64 leaves. What
    later ones repeat of it is rejected."""
    for day in range(DAYS):
        batch = world.sealed(hours=55, cell=CELLS[day % len(CELLS)])
        world.states.update(batch.states)
        world.commit(batch)
    await indexer.settle()
    return indexer


async def readings_of(served: Driven) -> list[Reading]:
    query = "select leaves from batch_file where state = 'verified'"
    rows = await served.indexer.pool.fetch(query)
    assert len(rows) == DAYS
    return [
        Reading.unpack(row["leaves"][at : at + READING_BYTES])
        for row in rows
        for at in range(0, len(row["leaves"]), READING_BYTES)
    ]


async def proven(world: World, api: httpx.AsyncClient, question: RegionQuestion) -> Any:
    loop = asyncio.get_running_loop()

    def answer(request: Request) -> Any:
        asked = get(api, request.path, **request.params)
        return asyncio.run_coroutine_threadsafe(asked, loop).result(PATIENCE_S)

    flow = region_statistics(question, world.chain.commitments_of)
    return (await asyncio.to_thread(carried_out, flow, answer)).statistics


def counted(question: RegionQuestion, readings: list[Reading]) -> tuple[int, int, int, int]:
    spans = [f"{cell:x}" for cell in question.cells]
    values = [
        reading.value
        for reading in readings
        if reading.metric == question.metric.code
        and question.start <= reading.observed_at <= question.end
        and any(
            h3.cell_to_parent(f"{reading.cell:x}", h3.get_resolution(one)) == one for one in spans
        )
    ]
    return len(values), sum(values), min(values, default=0), max(values, default=0)


async def test_any_window_and_region_is_what_counting_finds(world: World, served: Driven) -> None:
    random, readings = Random(5), await readings_of(served)
    choices = [*PARENTS, *(f"{cell:x}" for cell in CELLS), "842a107ffffffff"]
    seen = set()
    async with served.api() as api:
        for _ in range(12):
            start = START + random.randrange(-DAY_S, (DAYS + 2) * DAY_S)
            end = start + random.choice((0, DAY_S, 3 * DAY_S, 8 * DAY_S))
            cells = random.sample(choices, random.randint(1, 3))
            metric = random.choice(("air_temperature", "pressure"))
            question = RegionQuestion.of(metric, cells, start, end)
            found = await proven(world, api, question)
            expected = counted(question, readings)
            assert (found.count, found.sum, found.min, found.max) == expected
            seen.add(found.count > 0)
    assert seen == {True, False}


async def test_as_of_a_block_only_batches_up_to_it_count(world: World, served: Driven) -> None:
    asked = {"metric": "pressure", "cell": "842a107ffffffff", "from_": START}
    asked |= {"to": START + 10 * DAY_S}
    async with served.api() as api:
        whole = await get(api, "/v1/statistics", **asked)
        assert len(whole["parts"]) == DAYS
        assert "disclosed" not in whole
        block = whole["parts"][1]["block"]
        then = await get(api, "/v1/statistics", **asked, as_of=block)
        assert [part["batch_id"] for part in then["parts"]] == [1, 2]
        narrow = {"from_": START + 1, "to": START + 70 * HOUR_S}
        narrow = await get(api, "/v1/statistics", **(asked | narrow))
        assert [one["batch_id"] for one in narrow["disclosed"]] == [1, 2]
        assert narrow["disclosed"][0]["block"] == whole["parts"][0]["block"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"cell": "zz"}, "cell"),
    ({"cell": f"{CELLS[0]:x},"}, "cell"),
    ({"cell": f"{CELLS[0]:x}", "resolution": 6}, "resolution"),
    ({"cell": f"{CELLS[0]:x}", "resolution": 16}, "resolution"),
    ({"cell": ",".join([*PARENTS, "5"])}, "cell"),
    ({}, "device"),
    ({"device": "0x" + "11" * 20, "resolution": 7}, "resolution"),
]


async def test_what_is_no_region_is_refused(served: Driven) -> None:
    async with served.api() as api:
        for wrong, named in WRONG:
            problem = await get(api, "/v1/statistics", 400, metric="pressure", **wrong)
            assert problem["type"].endswith("InvalidQuery"), wrong
            assert named in problem["detail"], wrong


async def test_an_answer_that_would_show_too_much_is_refused(
    world: World, served: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in blocks before they are read, and in leaves after."""
    asked = {"metric": "pressure", "cell": "842a107ffffffff", "from": START + 1}
    async with served.api() as api:
        for most in (100, 3):
            monkeypatch.setattr(regions, "MAX_SHOWN", most)
            problem = await get(api, "/v1/statistics", 400, **asked, to=START + 10 * DAY_S)
            assert "smaller region" in problem["detail"]
        monkeypatch.setattr(statistics, "MAX_PARTS", DAYS - 1)
        whole = {**asked, "from": START, "to": START + 10 * DAY_S}
        problem = await get(api, "/v1/statistics", 400, **whole)
        assert f"1 cells or rows of cells in {DAYS} batches" in problem["detail"]
        monkeypatch.setattr(statistics, "MAX_PARTS", DAYS * len(CELLS))
        device = {"metric": "pressure", "device": device_of(world)}
        assert (await get(api, "/v1/statistics", **device))["count"] == 55 + 24 * (DAYS - 1)
