"""Who asks while a question is under way is answered by the next one, never by that one."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.service.gathering import Gathering


@dataclass
class World:
    """Something that changes, and how it was asked."""

    version: int = 0
    questions: list[list[int]] = field(default_factory=list)
    fails: bool = False

    async def ask(self, keys: Sequence[int]) -> Mapping[int, tuple[int, int]]:
        """Each key with the version that was seen; it takes three turns of the event loop."""
        self.questions.append(list(keys))
        seen = self.version
        for _ in range(3):
            await asyncio.sleep(0)
        if self.fails:
            raise ConnectionError("gone")
        return {key: (key, seen) for key in keys}


async def test_those_who_come_together_are_one_question_and_no_key_is_asked_twice() -> None:
    world = World()
    gathering = Gathering(world.ask, most=4)
    keys = [n % 6 for n in range(30)]
    found = await asyncio.gather(*map(gathering.get, keys))
    assert found == [(key, 0) for key in keys]
    assert world.questions == [[0, 1, 2, 3], [4, 5]]


@given(turns=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30))
async def test_an_answer_is_never_older_than_who_asked(turns: list[tuple[int, bool]]) -> None:
    world, asked = World(), []
    gathering = Gathering(world.ask)

    async def asker(key: int) -> None:
        version = world.version
        assert (await gathering.get(key))[1] >= version

    for key, changes in turns:
        world.version += changes
        asked.append(asyncio.create_task(asker(key)))
        await asyncio.sleep(0)
    await asyncio.gather(*asked)


async def test_a_failure_is_said_to_all_who_waited_and_to_nobody_after() -> None:
    world = World(fails=True)
    gathering = Gathering(world.ask)
    found = await asyncio.gather(*map(gathering.get, (1, 2, 1)), return_exceptions=True)
    assert [type(error) for error in found] == [ConnectionError] * 3
    world.fails = False
    assert await gathering.get(1) == (1, 0)


async def test_who_leaves_takes_nothing_from_the_others() -> None:
    gathering = Gathering(World().ask)
    leaving, staying = (asyncio.create_task(gathering.get(7)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == (7, 0)
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_a_pause_lets_more_gather() -> None:
    world, over, pauses = World(), asyncio.Event(), []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await over.wait()

    gathering = Gathering(world.ask, pause_s=3600, sleep=sleep)
    await asyncio.gather(gathering.get(0), gathering.get(0))
    rest = []
    for key in range(1, 5):
        rest.append(asyncio.create_task(gathering.get(key)))
        await asyncio.sleep(0)
    assert len(pauses) == 1
    assert 3500 < pauses[0] <= 3600
    gathering.pause_s = 0.0
    over.set()
    await asyncio.gather(*rest)
    assert world.questions == [[0], [1, 2, 3, 4]]


async def test_who_asks_alone_again_and_again_never_waits_for_a_crowd() -> None:
    world = World()

    async def sleep(seconds: float) -> None:
        raise AssertionError(f"slept {seconds} s")

    gathering = Gathering(world.ask, pause_s=3600, sleep=sleep)
    for key in range(5):
        assert await gathering.get(key) == (key, 0)


async def test_who_comes_while_a_question_is_under_way_waits_for_the_pause() -> None:
    world, begun, pauses = World(), asyncio.Event(), []

    async def ask(keys: Sequence[int]) -> Mapping[int, tuple[int, int]]:
        begun.set()
        return await world.ask(keys)

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    gathering = Gathering(ask, pause_s=3600, sleep=sleep)
    first = asyncio.create_task(gathering.get(1))
    await begun.wait()
    await asyncio.gather(first, gathering.get(2), gathering.get(3))
    assert len(pauses) == 1
    assert world.questions == [[1], [2, 3]]
