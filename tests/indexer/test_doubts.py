"""A long answer alone is no outage; every answer of a database that went silent is.

given answers under way
  ├── that take long while the database answers: all are awaited
  ├── of a database that is silent: those that are late end, and only those
  ├── while it stays silent: nobody waits as long again, or where others answer in its place,
  │   nobody longer
  └── cancelled by somebody else: that stays a cancellation
"""

import asyncio

import pytest
from support.processes import PATIENCE_S, until

from corechain.service.errors import StoreUnavailable
from corechain_indexer import doubt
from corechain_indexer.doubt import Doubts


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubt, "DOUBT_S", 0.02)
    monkeypatch.setattr(doubt, "AGAIN_S", 0.01)
    monkeypatch.setattr(doubt, "SILENT_S", 0.01)


class Database:
    """Says whether it is silent; each question is noted."""

    def __init__(self, silent: bool) -> None:
        self.silent, self.asked = silent, asyncio.Queue[float]()

    async def is_silent(self, within_s: float) -> bool:
        await self.asked.put(within_s)
        return self.silent


async def test_a_long_answer_is_awaited_while_the_database_answers() -> None:
    database, end = Database(silent=False), asyncio.Event()
    doubts = Doubts(database.is_silent)
    waits = [asyncio.create_task(doubts.answered(end.wait())) for _ in range(3)]
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(3):
            await database.asked.get()
        end.set()
        assert await asyncio.gather(*waits) == [True] * 3
        # The next answers are watched again.
        while not database.asked.empty():
            database.asked.get_nowait()
        again = asyncio.create_task(doubts.answered(asyncio.sleep(3_600)))
        await database.asked.get()
    again.cancel()


@pytest.mark.parametrize("others_answer", [False, True])
async def test_late_answers_of_a_silent_database_end_and_say_so(others_answer: bool) -> None:
    database, never = Database(silent=True), asyncio.Event()
    doubts = Doubts(database.is_silent, lambda: others_answer)
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(2):
            waits = [asyncio.create_task(doubts.answered(never.wait())) for _ in range(3)]
            ended = await asyncio.gather(*waits, return_exceptions=True)
            assert [str(error) for error in ended] == ["Postgres does not answer"] * 3
            assert all(isinstance(error, StoreUnavailable) for error in ended)


@pytest.mark.parametrize("others_answer", [False, True])
async def test_nobody_waits_as_long_again_until_the_database_answers(
    monkeypatch: pytest.MonkeyPatch, others_answer: bool
) -> None:
    database, never = Database(silent=True), asyncio.Event()
    doubts = Doubts(database.is_silent, lambda: others_answer)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(StoreUnavailable):
            await asyncio.create_task(doubts.answered(never.wait()))
        monkeypatch.setattr(doubt, "DOUBT_S", 86_400.0)
        again = asyncio.create_task(doubts.answered(never.wait()))
        if others_answer:
            for _ in range(3):
                await database.asked.get()
            never.set()
            assert await again
        else:
            with pytest.raises(StoreUnavailable):
                await again
        database.silent = False
        await until(lambda: doubts._watching is None)
        never.clear()
        later = asyncio.create_task(doubts.answered(never.wait()))
        await asyncio.sleep(0.05)
        assert not later.done(), "it answers again: a long answer is awaited"
        never.set()
        assert await later


async def test_who_waits_goes_on_after_the_end_of_its_answer() -> None:
    doubts = Doubts(Database(silent=True).is_silent)

    async def patient() -> str:
        try:
            await doubts.answered(asyncio.sleep(3_600))
        except StoreUnavailable:
            await asyncio.sleep(0.001)  # no cancellation is left over
            return "went on"
        return ""

    async with asyncio.timeout(PATIENCE_S):
        assert await asyncio.create_task(patient()) == "went on"


async def test_a_cancellation_of_somebody_else_stays_one() -> None:
    doubts = Doubts(Database(silent=False).is_silent)
    wait = asyncio.create_task(doubts.answered(asyncio.sleep(3_600)))
    await asyncio.sleep(0)
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait


async def test_what_the_answer_raises_is_raised() -> None:
    async def wrong() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Doubts(Database(silent=False).is_silent).answered(wrong())
