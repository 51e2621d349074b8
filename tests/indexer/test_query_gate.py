"""Queries beyond what is worked on at a time wait in order; those that would come too late are
refused, and nobody's place is lost."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.errors import Overloaded
from corechain_indexer.api.gate import SHORT_WAIT_S, Gate


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
    clock.now = 0.2
    ((last, last_task),) = await begun(gate, 1)
    clock.now = 1.1
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


@dataclass
class Served:
    """A server that answers `per_ms` queries a millisecond, and 16 at a time."""

    per_ms: float
    clock: Clock = field(default_factory=Clock)
    waits: list[tuple[float, float]] = field(default_factory=list)
    """Of those that were answered: when they came, and how long they waited."""
    refused: list[float] = field(default_factory=list)
    inside: "deque[asyncio.Event]" = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.gate = Gate(16, clock=self.clock)

    async def query(self) -> None:
        came, done = self.clock.now, asyncio.Event()
        try:
            async with self.gate:
                self.waits.append((came, self.clock.now - came))
                self.inside.append(done)
                await done.wait()
        except Overloaded:
            self.refused.append(came)

    async def run(self, arrivals: "Callable[[int], int]", milliseconds: int) -> None:
        tasks, share = [], 0.0
        for now in range(milliseconds):
            self.clock.now = now / 1_000
            share += self.per_ms
            while share >= 1:
                share -= 1
                if self.inside:
                    self.inside.popleft().set()
            tasks += [asyncio.create_task(self.query()) for _ in range(arrivals(now))]
            for _ in range(3):  # who leaves, who comes in, who has come
                await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("times", [1.3, 2, 4])
async def test_in_an_overload_as_many_as_can_be_are_answered_and_soon(times: float) -> None:
    served = Served(1.0)
    random = Random(7)
    await served.run(lambda now: sum(random.random() < times / 4 for _ in range(4)), 4_000)
    # What had come before it was known for an overload is answered until then.
    waits = sorted(wait for came, wait in served.waits if came > 2.7)
    assert waits[int(0.95 * len(waits))] <= 2 * SHORT_WAIT_S
    assert len(served.waits) >= 0.95 * 4_000, "no capacity is wasted"
    assert served.refused


async def test_a_burst_is_answered_in_whole_and_so_is_all_below_capacity() -> None:
    served = Served(1.0)
    await served.run(lambda now: 400 if now == 10 else 0, 600)
    assert (len(served.waits), served.refused) == (400, [])
    random = Random(7)
    below = Served(1.0)
    await below.run(lambda now: sum(random.random() < 0.2 for _ in range(4)), 2_000)
    assert not below.refused


async def test_who_asks_again_when_answered_is_not_refused_though_the_queue_never_empties() -> None:
    served, asking = Served(1.0), 100  # 16 of them are in, 84 wait for 84 ms
    asked = 0

    def again(_: int) -> int:
        nonlocal asked
        done = len(served.waits) - len(served.inside) + len(served.refused)
        coming = asking - (asked - done)
        asked += coming
        return coming

    await served.run(again, 3_000)
    assert not served.refused
    assert len(served.waits) >= 0.95 * 3_000


async def test_after_an_overload_bursts_are_answered_again() -> None:
    served = Served(1.0)
    await served.run(
        lambda now: 3 if now < 1_000 else 200 if now == 3_000 else 0,
        3_500,
    )
    assert served.refused
    assert max(served.refused) < 1.1
    assert len([came for came, _ in served.waits if came == 3.0]) == 200


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
