"""Queries beyond what is worked on at a time wait in order; those that would come too late are
refused, and nobody's place is lost."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.errors import Overloaded
from corechain_indexer.api.gate import Gate


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Visit:
    """A query that stays until it is told to leave."""

    gate: Gate
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    is_in: bool = False

    async def run(self) -> None:
        async with self.gate:
            assert self.gate.inside <= self.gate.most
            self.is_in = True
            await self.leave.wait()


async def begun(gate: Gate, count: int) -> list[tuple[Visit, "asyncio.Task[None]"]]:
    visits = [Visit(gate) for _ in range(count)]
    tasks = [asyncio.create_task(visit.run()) for visit in visits]
    await asyncio.sleep(0)
    return list(zip(visits, tasks, strict=True))


async def test_the_others_wait_in_their_order() -> None:
    gate = Gate(2, clock=Clock())
    visits = await begun(gate, 5)
    assert [visit.is_in for visit, _ in visits] == [True, True, False, False, False]
    for number, (visit, task) in enumerate(visits):
        visit.leave.set()
        await task
        await asyncio.sleep(0)
        assert [v.is_in for v, _ in visits] == [n < number + 3 for n in range(5)]
    assert gate.inside == 0


async def test_who_waited_too_long_is_refused_and_who_came_later_is_not() -> None:
    clock = Clock()
    gate = Gate(1, wait_s=1.0, clock=clock)
    ((first, first_task),) = await begun(gate, 1)
    ((_, late_task),) = await begun(gate, 1)
    clock.now = 0.9
    ((last, last_task),) = await begun(gate, 1)
    clock.now = 1.5
    # Behind somebody who has waited for too long already there is no hope.
    with pytest.raises(Overloaded):
        await Visit(gate).run()
    first.leave.set()
    await first_task
    with pytest.raises(Overloaded):
        await late_task
    last.leave.set()
    await last_task
    assert gate.inside == 0


async def test_only_so_many_wait() -> None:
    gate = Gate(1, waiting=3, clock=Clock())
    visits = await begun(gate, 4)
    with pytest.raises(Overloaded):
        await Visit(gate).run()
    for visit, task in visits:
        visit.leave.set()
        await task


@given(st.lists(st.tuples(st.sampled_from(["come", "leave", "cancel"]), st.integers(0, 9))))
async def test_whoever_leaves_in_whatever_way_no_place_is_lost(
    steps: list[tuple[str, int]],
) -> None:
    gate = Gate(3, clock=Clock())
    visits: list[tuple[Visit, asyncio.Task[None]]] = []
    for step, number in steps:
        if step == "come":
            visits += await begun(gate, 1)
        elif visits:
            visit, task = visits[number % len(visits)]
            visit.leave.set() if step == "leave" else task.cancel()
        if number % 2:
            await asyncio.sleep(0)
    for visit, _ in visits:
        visit.leave.set()
    await asyncio.gather(*(task for _, task in visits), return_exceptions=True)
    assert gate.inside == 0
    async with gate:
        assert gate.inside == 1
