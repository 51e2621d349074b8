"""How sure and how new an answer is: as the node says, as was asked for, as it was known then.

given a node whose blocks become safe, then final
  └── so do devices, batches, readings, newest values, proofs and statistics, everywhere alike
given a batch in a final block and one in a new block
  ├── who asks for final data gets the first one, from every path
  ├── who asks as of its block gets the answers that were given then
  └── after a rollback nothing counts as surer than what is left
given somebody who wrote a moment ago
  ├── who names the block or the transaction gets an answer that knows it
  └── who names one that does not come is told to come again
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from support.processes import PATIENCE_S

from indexer.support import Driven, World, device_of, get

OTHER_CELL = 0x872A10728FFFFFF
LEVELS = ("pending", "safe", "finalised")


@asynccontextmanager
async def patient(indexer: Driven, wait_s: float = PATIENCE_S) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API that lets requests wait so long."""
    api = indexer.indexer.api()
    api.freshness.wait_s = wait_s
    transport = httpx.ASGITransport(app=api.app(queries=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://indexer") as client:
        yield client


def said(world: World, block: int) -> str:
    """The node's word on a block."""
    marks = {tag: world.rpc("eth_getBlockByNumber", tag, False) for tag in ("safe", "finalized")}
    safe, final = (int(marks[tag]["number"], 16) for tag in ("safe", "finalized"))
    return "finalised" if 0 < block <= final else "safe" if 0 < block <= safe else "pending"


def found_in(answer: Any) -> Iterator[str]:
    """Every `finality` in a document."""
    if isinstance(answer, dict):
        yield from (v for k, v in answer.items() if k == "finality")
        for value in answer.values():
            yield from found_in(value)
    elif isinstance(answer, list):
        for item in answer:
            yield from found_in(item)


def without_finality(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {k: without_finality(v) for k, v in answer.items() if k != "finality"}
    return [without_finality(item) for item in answer] if isinstance(answer, list) else answer


def questions(world: World) -> dict[str, dict[str, str]]:
    device = device_of(world)
    return {
        "/v1/batches": {},
        "/v1/readings": {"device": device},
        "/v1/latest": {"device": device},
        "/v1/series": {"device": device, "metric": "pressure"},
        "/v1/statistics": {"device": device, "metric": "pressure"},
    }


async def answers(api: httpx.AsyncClient, world: World, **bounds: Any) -> dict[str, Any]:
    asked = questions(world).items()
    return {path: await get(api, path, **params, **bounds) for path, params in asked}


async def test_what_is_shown_becomes_safe_and_final_with_its_block(
    world: World, indexer: Driven
) -> None:
    world.add()
    device = f"/v1/devices/{device_of(world)}"
    proof = "/v1/batches/1/readings/0/proof"
    seen = []
    async with indexer.api() as api:
        for _ in range(3):
            await indexer.settle()
            (batch,) = (await get(api, "/v1/batches"))["items"]
            expected = said(world, batch["block"])
            seen.append(expected)
            shown = [await answers(api, world), await get(api, proof), await get(api, proof)]
            assert set(found_in(shown)) == {expected}
            whose = await get(api, device)
            assert whose["finality"] == said(world, whose["block"])
            status = await get(api, "/v1/status")
            assert said(world, status["final_block"] + 1) != "finalised"
            assert said(world, status["safe_block"] + 1) == "pending"
            world.rpc("anvil_mine", hex(40))
    assert seen == list(LEVELS)


async def test_who_asks_for_final_data_or_as_of_a_block_gets_what_was_known_then(
    world: World, indexer: Driven
) -> None:
    world.add()
    await indexer.settle()
    async with indexer.api() as api:
        then = without_finality(await answers(api, world))
        block = then["/v1/batches"]["items"][-1]["block"]
        world.rpc("anvil_mine", hex(70))
        world.add()
        await indexer.settle()
        now = without_finality(await answers(api, world))
        for path, answer in now.items():
            assert answer != then[path], path
        for bounds in ({"finality": "finalised"}, {"as_of": block}):
            known = await answers(api, world, **bounds)
            assert without_finality(known) == then, bounds
            assert set(found_in(known)) == {"finalised"}
        nothing = await answers(api, world, as_of=block - 1, finality="safe")
        assert not list(found_in(nothing))
        head = world.head
        assert without_finality(await answers(api, world, as_of=head)) == now
        problem = await get(api, "/v1/batches", 409, as_of=head + 1)
        assert problem["type"].endswith("NotMirrored")


async def test_an_answer_as_of_a_block_asks_for_no_cell_that_was_found_later(
    world: World, indexer: Driven
) -> None:
    world.add()
    await indexer.settle()
    asked = {"device": device_of(world), "metric": "pressure"}
    async with indexer.api() as api:
        then = await get(api, "/v1/statistics", **asked)
        block = then["parts"][-1]["block"]
        moved = world.sealed(cell=OTHER_CELL)
        world.commit(moved)
        await indexer.settle()
        assert len((await get(api, "/v1/statistics", **asked))["parts"]) == 4
        again = await get(api, "/v1/statistics", **asked, as_of=block)
        assert without_finality(again) == without_finality(then)


async def test_after_a_rollback_nothing_counts_as_surer_than_what_is_left(
    world: World, indexer: Driven
) -> None:
    world.rpc("anvil_mine", hex(100))
    await indexer.settle()
    async with indexer.api() as api:
        before = await get(api, "/v1/status")
        assert before["final_block"] > 3
        await indexer.mirror.store.roll_back(3)
        status = await get(api, "/v1/status")
        assert max(status["safe_block"], status["final_block"]) <= 3
        await indexer.mirror.store.roll_back(-1)
        await indexer.settle()
        assert await get(api, "/v1/status") == before


async def test_who_names_a_block_or_a_transaction_gets_an_answer_that_knows_it(
    world: World, indexer: Driven
) -> None:
    await indexer.settle()
    async with patient(indexer) as api:
        world.add()
        block = world.rpc("eth_getBlockByNumber", "latest", False)
        waits = [{"min_block": world.head}, {"after_tx": block["transactions"][0]}]
        waiting = [asyncio.create_task(get(api, "/v1/batches", **wait)) for wait in waits]
        await asyncio.sleep(0)  # they have begun
        await indexer.settle()
        for answer in await asyncio.gather(*waiting):
            assert [item["batch_id"] for item in answer["items"]] == [1]


async def test_what_does_not_come_is_to_be_asked_for_again(world: World, indexer: Driven) -> None:
    await indexer.settle()
    async with patient(indexer, wait_s=0.05) as api:
        for wait in ({"min_block": world.head + 1}, {"after_tx": "0x" + "ab" * 32}):
            response = await api.get("/v1/status", params=wait)
            assert response.status_code == 409
            assert response.headers["retry-after"] == "1"
            assert "not mirrored yet" in response.json()["detail"]


@pytest.mark.parametrize(
    "params",
    [{"finality": "maybe"}, {"as_of": "-1"}, {"min_block": "x"}, {"after_tx": "0x12"}],
)
async def test_what_is_not_such_a_bound_is_refused(indexer: Driven, params: dict[str, str]) -> None:
    async with indexer.api() as api:
        problem = await get(api, "/v1/batches", 400, **params)
        assert problem["detail"].startswith(next(iter(params)))
