"""Histories from the real API, proven by the SDK on the real chain.

given batches of a day each, and devices at cells of several parents
  a device's and a region's history, of any time and order, are the leaves that counting finds
  a page that is full goes on behind its last batch, and a new process behind any reading
  lanes follow each other, each proven from end to end
  since a block, and as of one, there are the batches from there and up to there
  what the index does not show yet, and what it never showed, is noticed on the chain
  the answer has the documented form
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from random import Random
from typing import Any

import h3
import httpx
import pytest
import pytest_asyncio
from support.flows import carried_out
from support.processes import PATIENCE_S

from corechain.account import account_from_key
from corechain.devnet.settings import ADMIN_KEY, SUBMITTER_KEY
from corechain.histories import History
from corechain.history_errors import HistoryBehind, HistoryGap
from corechain.history_question import HistoryQuestion
from corechain.protocol.hashing import ZERO26
from corechain.protocol.reading import READING_BYTES, Reading
from corechain.steps import Request
from corechain_indexer.api import history
from indexer.support import START, Driven, World, get

DAY_S, DAYS = 86_400, 5
PARENTS = ("862a1072fffffff", "862a10727ffffff")
CELLS = [int(cell, 16) for one in PARENTS for cell in h3.cell_to_children(one, 7)[:2]]
WHOLE = "842a107ffffffff"
END = START + 20 * DAY_S


@pytest_asyncio.fixture
async def served(world: World, indexer: Driven) -> Driven:
    """A batch a day: four blocks of 64 leaves in the first. What later ones repeat is rejected."""
    for day in range(DAYS):
        batch = world.sealed(hours=55, cell=CELLS[day % len(CELLS)])
        world.states.update(batch.states)
        world.commit(batch)
    await indexer.settle()
    return indexer


async def leaves_of(served: Driven) -> list[tuple[int, int, Reading]]:
    rows = await served.indexer.pool.fetch(
        "select batch_id, leaves from batch_file where state = 'verified' order by batch_id"
    )
    return [
        (row["batch_id"], at, Reading.unpack(row["leaves"][READING_BYTES * at :][:READING_BYTES]))
        for row in rows
        for at in range(len(row["leaves"]) // READING_BYTES)
    ]


def asked(cursor: str | None = None, gaps: Any = "raise", **given: Any) -> Any:
    names = {"device": None, "metric": None, "start": None, "end": None, "region": None}
    names |= {"newest_first": False, "since_block": None, "resolution": 7}
    view = {name: given.pop(name) for name in ("as_of", "finality") if name in given}
    return HistoryQuestion.of(*(names | given).values(), view), cursor, gaps, None


async def told(world: World, api: httpx.AsyncClient, stand: Any, take: Any = list) -> Any:
    """What `take` makes of the history, in a thread: its requests are asked in this loop."""
    loop = asyncio.get_running_loop()

    def answer(request: Request) -> Any:
        found = get(api, request.path, **request.params)
        return asyncio.run_coroutine_threadsafe(found, loop).result(PATIENCE_S)

    def run() -> Any:
        return take(History(lambda flow: carried_out(flow, answer), (*stand, lambda: world.chain)))

    return await asyncio.to_thread(run)


def places(readings: Any) -> list[tuple[int, int, Reading]]:
    return [(one.batch_id, one.position, one.reading) for one in readings]


async def test_any_history_is_what_counting_finds(world: World, served: Driven) -> None:
    random, leaves = Random(7), await leaves_of(served)
    seen = set()
    async with served.api() as api:
        for _ in range(10):
            start = START + random.randrange(-DAY_S, (DAYS + 2) * DAY_S)
            end = start + random.choice((0, DAY_S, 3 * DAY_S, 8 * DAY_S))
            metric, device = random.choice((None, 1, 4)), random.choice(world.keys).identity.device
            cells = [WHOLE] if random.random() < 0.5 else CELLS[1:3]
            of_device, newest = random.random() < 0.5, random.random() < 0.5
            whose: dict[str, Any] = {"device": device} if of_device else {"region": cells}
            stand = asked(metric=metric, start=start, end=end, newest_first=newest, **whose)
            found = places(await told(world, api, stand))
            expected = [
                (batch, at, one)
                for batch, at, one in leaves
                if start <= one.observed_at <= end
                and metric in (None, one.metric)
                and (one.device == device if of_device else WHOLE in cells or one.cell in cells)
            ]
            assert sorted(found, key=lambda one: one[:2]) == expected
            times = [(batch, one.observed_at) for batch, _, one in found]
            assert times == sorted(times, reverse=newest)
            seen.add(bool(found))
    assert seen == {True, False}


@contextmanager
def small_pages() -> Iterator[None]:
    kept = history.PAGE_BATCHES, history.PAGE_LEAVES
    history.PAGE_BATCHES, history.PAGE_LEAVES = 2, 64
    try:
        yield
    finally:
        history.PAGE_BATCHES, history.PAGE_LEAVES = kept


@pytest.mark.parametrize("newest", [False, True])
async def test_pages_and_processes_go_on_where_they_were(
    world: World, served: Driven, newest: bool
) -> None:
    question: dict[str, Any] = {"region": [WHOLE], "newest_first": newest, "end": END}

    def in_pieces(history: History) -> Any:
        return list(islice(history, 61)), history.cursor, history.is_done

    async with served.api() as api:
        whole = places(await told(world, api, asked(**question)))
        with small_pages():
            found, cursor, is_done = list[Any](), None, False
            while not is_done:
                piece, cursor, is_done = await told(
                    world, api, asked(cursor, **question), in_pieces
                )
                found += places(piece)
            assert found == whole
            assert len(await told(world, api, asked(**question), lambda h: list(h.pages()))) > 2


async def test_blocks_bound_a_history_and_what_is_none_is_refused(
    world: World, served: Driven
) -> None:
    # Lanes that nobody has; a gap of 2^31 batches, on either side of which there are some.
    nobodys = [history.Span((lane << 32) + 1, (lane + 1 << 32) - 1) for lane in range(7, 600)]
    without_end = history.encoded(history.Place(nobodys, []))
    gap = history.encoded(history.Place([history.Span(2**31, 2**32 - 1), history.Span(1, 2)], []))
    async with served.api() as api:
        blocks = [one["block"] for one in (await get(api, "/v1/batches"))["items"]]
        late = asked(region=[WHOLE], since_block=blocks[2], end=END)
        assert {one.batch_id for one in await told(world, api, late)} == {3, 4, 5}
        early = asked(region=[WHOLE], as_of=blocks[1], end=END)
        assert {one.batch_id for one in await told(world, api, early)} == {1, 2}
        for order in ("oldest", "newest"):
            page = await get(api, "/v1/history", cell=WHOLE, cursor=gap, order=order)
            assert len(page["batches"]) == 2, order
        final = asked(region=[WHOLE], finality="finalised", end=END)
        assert len(await told(world, api, final)) <= len(await leaves_of(served))
        for wrong, named in (
            ({}, "device"),
            ({"device": "0x" + "11" * 20, "resolution": 7}, "resolution"),
            ({"cell": WHOLE, "order": "up"}, "order"),
            ({"cell": WHOLE, "cursor": "W10="}, "cursor"),
            ({"cell": WHOLE, "cursor": "no"}, "cursor"),
            ({"cell": WHOLE, "cursor": without_end}, "cursor"),
            ({"cell": "zz"}, "cell"),
            ({"cell": WHOLE, "resolution": 3}, "cell"),
            ({"device": "0x" + "11" * 20, "cell": ",".join(f"{c:x}" for c in CELLS * 25)}, "cell"),
        ):
            problem = await get(api, "/v1/history", 400, **wrong)
            assert problem["type"].endswith("InvalidQuery"), wrong
            assert named in problem["detail"], wrong


def open_lane(world: World, lane: int) -> None:
    admin, batches = account_from_key(ADMIN_KEY), world.chain.contract("DataBatches").address
    world.chain.send(admin, "CoreToken", "approve", batches, 2**96)
    submitter = account_from_key(SUBMITTER_KEY).address
    world.chain.send(admin, "DataBatches", "assignLane", lane, submitter)
    world.chain.send(admin, "DataBatches", "bondLane", lane)


async def test_lanes_follow_each_other_and_are_proven_each(world: World, served: Driven) -> None:
    open_lane(world, 3)
    world.previous = ZERO26
    world.sequence += 2  # its next hours begin after those of the fixture
    for number in (1, 2):
        world.commit(world.sealed(hours=5, number=(3 << 32) + number))
    await served.settle()

    def whole(history: History) -> Any:
        return places(history), history.lanes

    async with served.api() as api:
        for newest in (False, True):
            stand = asked(region=[WHOLE], newest_first=newest, end=END)
            with small_pages():
                found, lanes = await told(world, api, stand, whole)
            assert sorted(found, key=lambda one: one[:2]) == await leaves_of(served)
            assert lanes == {0, 3}
        # The newest batch of a lane, committed and not shown yet.
        world.commit(world.sealed(hours=5, number=(3 << 32) + 3))
        with pytest.raises(HistoryBehind) as behind:
            await told(world, api, asked(region=[WHOLE], end=END))
        assert behind.value.batch_id == (3 << 32) + 3


async def test_what_the_index_does_not_show_is_noticed_on_the_chain(
    world: World, served: Driven
) -> None:
    async with served.api() as api:
        world.add(hours=55)  # the index has not looked yet
        with pytest.raises(HistoryBehind) as behind:
            await told(world, api, asked(region=[WHOLE], end=END))
        assert behind.value.batch_id == DAYS + 1
        assert await told(world, api, asked(region=[WHOLE])), "as far as the index is"
        withheld = world.sealed(hours=55)
        world.commit(withheld, publish=False)
        world.add(hours=55)
        await served.settle()
        with pytest.raises(HistoryGap) as gap:
            await told(world, api, asked(region=[WHOLE], end=END))
        assert (gap.value.first, gap.value.last) == (DAYS + 2, DAYS + 2)

        def reported(history: History) -> Any:
            return {one.batch_id for one in history}, [one.first for one in history.gaps]

        given = asked(region=[WHOLE], end=END, gaps="report")
        assert await told(world, api, given, reported) == ({1, 2, 3, 4, 5, 6, 8}, [7])
