"""Answers are kept while nothing changes, and are what Postgres says, whatever a reorg did.

given batches that are verified and undone
  ├── a question asked again is answered from memory
  ├── after each change both a new API and the one that has kept answers say the same
  └── in whatever order questions and changes come, no answer is older than its question
"""

import asyncio
from dataclasses import dataclass, field

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain_indexer.api.known import Again, Kept
from indexer.support import Driven, World, device_of, get

METRIC = "corechain_answers_kept_total"


def questions(world: World) -> list[str]:
    device = device_of(world)
    return [
        "/v1/status",
        "/v1/batches",
        "/v1/batches?finality=finalised",
        "/v1/batches/1",
        "/v1/batches/2",
        "/v1/devices",
        "/v1/epochs",
        f"/v1/series?device={device}&metric=1",
        f"/v1/statistics?device={device}&metric=1",
        f"/v1/latest?device={device}",
        f"/v1/readings?device={device}",
    ]


async def told(api: httpx.AsyncClient, world: World) -> dict[str, tuple[int, bytes]]:
    answers = {}
    for question in questions(world):
        answer = await api.get(question)
        answers[question] = answer.status_code, answer.content
    return answers


async def test_what_is_kept_is_what_postgres_says_after_every_step_of_a_reorg(
    indexer: Driven, world: World
) -> None:
    async def is_exact() -> dict[str, tuple[int, bytes]]:
        # An API of its own has kept nothing yet.
        async with indexer.api() as fresh:
            known = await told(fresh, world)
        assert await told(keeping, world) == known
        assert await told(keeping, world) == known
        return known

    async with indexer.api() as keeping:
        world.add()
        await indexer.until_verified(1)
        before = await is_exact()
        fork = world.fork_here()
        world.add(hours=3)
        await indexer.until_verified(2)
        longer = await is_exact()
        assert longer["/v1/batches/2"][0] == 200
        fork.return_to()
        world.rpc("anvil_mine", "0x4")
        await indexer.settle()
        shorter = await is_exact()
        assert shorter["/v1/batches/2"][0] == 404
        assert shorter["/v1/batches"] == before["/v1/batches"] != longer["/v1/batches"]
        other = world.add(hours=2)
        await indexer.until_verified(2)
        assert other.commitment.hex().encode() in (await is_exact())["/v1/batches/2"][1]


async def test_a_question_that_is_asked_again_is_answered_from_memory(
    indexer: Driven, world: World
) -> None:
    world.add()
    await indexer.until_verified(1)
    async with indexer.api() as api:
        await get(api, "/v1/batches")
        before = indexer.metric(METRIC)
        for _ in range(3):
            await get(api, "/v1/batches")
        assert indexer.metric(METRIC) == before + 3
        world.add()
        await indexer.until_verified(2)
        assert len((await get(api, "/v1/batches"))["items"]) == 2
        assert indexer.metric(METRIC) == before + 3


async def test_of_a_device_only_what_is_asked_for_again_is_kept(
    indexer: Driven, world: World
) -> None:
    world.add()
    await indexer.until_verified(1)
    query = {"device": device_of(world), "metric": "1"}
    async with indexer.api() as api:
        for path in ("/v1/series", "/v1/statistics"):
            before = indexer.metric(METRIC)
            answers = [await get(api, path, **query) for _ in range(4)]
            assert answers == answers[:1] * 4
            assert indexer.metric(METRIC) == before + 2, "the second answer is the one that is kept"


def test_what_was_asked_for_long_ago_is_as_if_never() -> None:
    again = Again(most=3)
    assert [again.seen(n) for n in (1, 2, 3, 1, 4, 1, 2)] == [False] * 3 + [True] + [False] * 3


async def test_a_full_api_refuses_early_and_gives_what_it_has_kept(
    indexer: Driven, world: World
) -> None:
    world.add()
    await indexer.until_verified(1)
    api = indexer.indexer.api()
    app = httpx.ASGITransport(app=api.app(queries=True))
    async with httpx.AsyncClient(transport=app, base_url="http://indexer") as client:
        kept = await client.get("/v1/batches")
        api.gates.all.most = api.gates.all.waiting = 0
        refused = await client.get(f"/v1/latest?device={device_of(world)}")
        assert refused.status_code == 503
        assert refused.json()["type"] == "urn:corechain:error:Overloaded"
        assert int(refused.headers["retry-after"]) > 0
        assert (await client.get("/v1/batches")).content == kept.content


# ------------------------------------------------------------------------------ in any order


@dataclass
class Truth:
    """A number that changes, and a mark of it that takes a moment to be read."""

    number: int = 0
    made: int = 0
    turns: int = 0
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def now(self) -> str:
        seen = self.number
        for _ in range(self.turns):
            await asyncio.sleep(0)
        return str(max(seen, self.number) if self.turns == 0 else seen)

    async def answer(self) -> bytes:
        self.made += 1
        seen = self.number
        for _ in range(self.turns):
            await asyncio.sleep(0)
        return str(seen).encode()


@given(
    st.lists(st.tuples(st.sampled_from(["ask", "change", "turn"]), st.integers(0, 2))),
    st.integers(0, 3),
)
async def test_no_answer_is_older_than_its_question(
    steps: list[tuple[str, int]], turns: int
) -> None:
    truth = Truth(turns=turns)
    kept: Kept[bytes] = Kept(truth, 100, len)

    async def ask(question: int) -> None:
        asked_at = truth.number
        assert int(await kept.get(question, truth.answer)) >= asked_at

    asked = []
    for step, question in steps:
        if step == "ask":
            asked.append(asyncio.create_task(ask(question)))
        elif step == "change":
            truth.number += 1
        else:
            await asyncio.sleep(0)
    await asyncio.gather(*asked)


async def test_those_who_ask_together_wait_for_one_answer() -> None:
    truth = Truth(turns=3)
    kept: Kept[bytes] = Kept(truth, 100, len)
    found = await asyncio.gather(*(kept.get("same", truth.answer) for _ in range(10)))
    assert found == [b"0"] * 10
    assert truth.made == 1


async def test_a_failure_is_not_kept() -> None:
    truth = Truth()
    kept: Kept[bytes] = Kept(truth, 100, len)

    async def fail() -> bytes:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        await kept.get("x", fail)
    assert await kept.get("x", truth.answer) == b"0"


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40))
async def test_no_more_than_so_many_bytes_are_kept(sizes: list[int]) -> None:
    kept: Kept[bytes] = Kept(Truth(), 40, len)
    for number, size in enumerate(sizes):

        async def make(size: int = size) -> bytes:
            return bytes(size)

        assert await kept.get(number, make) == bytes(size)
        assert kept.held_bytes == sum(map(len, kept._answers.values())) <= 40
