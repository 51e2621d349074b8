"""A lane's story in which nothing happens but what a test does."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from chaos.lane import LaneStory
from chaos.run import MODULES, TWINS
from chaos.world import World, virtual
from corechain_relayer.submitter.plan import State


@contextmanager
def quiet_lane(confirmed: int = 0) -> Iterator[LaneStory]:
    """Intents confirmed one by one, each in a block of its own, on a chain without faults."""
    world = World(1)
    with virtual(world, MODULES, TWINS):
        story = LaneStory(world)
        story.policy = story.submitter.policy = replace(story.policy, ordered=True, in_flight=2)
        for number in range(1, confirmed + 1):
            story.tables.insert(f"batch:{number}", b"b%d" % number)
            story.work()
            story.mine(1)
            story.work()
        states = [row.intent.state for row in story.tables.rows.values()]
        assert states == [State.CONFIRMED] * confirmed
        yield story
