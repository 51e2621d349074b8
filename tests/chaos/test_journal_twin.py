"""The journal that stories are played with, beside the real one.

given all that a story asked of its journal, and what operators and roles did to its rows
  Postgres says the same, and leaves the same intents
given a clock that was set back between two transactions
  the later one is the newest
"""

import os
from collections.abc import AsyncIterator
from itertools import product

import pytest

from chaos.challenger import ChallengerStory
from chaos.guard import GuardStory
from chaos.lane import TURNS, LaneStory
from chaos.rewards import RewardStory
from chaos.run import MODULES, TWINS
from chaos.tower import TowerStory
from chaos.twin import Call, Twin, taped
from chaos.world import World, virtual
from corechain.service.database import connect
from corechain_relayer.submitter.plan import Attempt, Fees


def calls_of(kind: type[LaneStory], seed: int) -> list[Call]:
    """Of a story as `play` has it."""
    world = World(seed)
    with virtual(world, MODULES, TWINS):
        story, tape = taped(kind, world)
        story.seal()
        for _ in range(TURNS):
            story.turn()
        story.heal()
    return tape.calls


@pytest.fixture
async def twin(database: str) -> AsyncIterator[Twin]:
    connection = await connect(database)
    yield Twin.of(connection)
    await connection.close()


STORIES = [(LaneStory, 7), (LaneStory, 17), (LaneStory, 25), (GuardStory, 1), (ChallengerStory, 13)]
STORIES += [(RewardStory, 297)]
"""What another transaction has done, an operator cancels, a clock that is set back, demands, what
was given up and may land."""


KINDS = (LaneStory, TowerStory, GuardStory, ChallengerStory, RewardStory)
MORE = range(int(os.environ.get("TWIN_SEEDS", "0")))
"""Seeds of each role besides."""


async def test_the_journal_of_the_stories_does_what_the_real_one_does(twin: Twin) -> None:
    for kind, seed in (*STORIES, *product(KINDS, MORE)):
        assert not await twin.difference(calls_of(kind, seed)), f"seed {seed} of {kind.__name__}"


async def test_the_newest_transaction_is_the_newest_whatever_the_clock_says(twin: Twin) -> None:
    """It was replaced in each round, and never outbid, until the clock was where it had been."""
    await twin.journal.want("batch:1", bytes(20), b"call")
    for number, signed_at in enumerate((3_600.0, 20.0)):
        (intent,) = await twin.journal.open_intents(ordered=True, paused=())
        hash_ = bytes([number]) * 32
        attempt = Attempt(hash_, 0, b"raw", Fees(100 + 13 * number, 1), signed_at)
        await twin.journal.record([(intent, attempt)], bytes(20))
    (intent,) = await twin.journal.open_intents(ordered=True, paused=())
    assert [attempt.fees.max_fee for attempt in intent.attempts] == [100, 113]
