"""A watchtower under whatever a person can think of: hypothesis draws what happens, and shrinks it.

given the real watchtower and its submitter in the simulator's world
  when states are left, channels are closed with old ones, blocks are lost, the process is down
    the newest state that it has acknowledged of a channel only gets newer
    every stale close of which it has a newer state is answered in its window
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chaos.duties import SUBJECTS
from chaos.run import MODULES
from chaos.tower import TowerStory, channel_id
from chaos.world import World, virtual

CHANNELS = st.integers(1, SUBJECTS)


class WatchtowerMachine(RuleBasedStateMachine):
    """The story's own invariants (I13, I14, order of effects) are checked by its models."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(1)
        self.places = virtual(self.world, MODULES)
        self.places.__enter__()
        self.story = TowerStory(self.world)
        self.newest: dict[int, int] = {}

    @rule(channel=CHANNELS, ahead=st.integers(-3, 5))
    def a_party_leaves_a_state(self, channel: int, ahead: int) -> None:
        story = self.story
        standing = story.standings(story.chain.now).get(channel)
        is_late = standing and story.left_s(standing, story.chain.now) < story.reserve_s
        if not is_late and not story.down:
            story.leave(channel, max(1, story.acknowledged.get(channel, 0) + ahead))

    @rule(channel=CHANNELS, behind=st.integers(0, 5))
    def a_channel_is_closed(self, channel: int, behind: int) -> None:
        story = self.story
        if channel not in story.standings(story.chain.now):
            version = max(1, story.acknowledged.get(channel, 1) - behind)
            due = story.chain.timestamp(story.chain.now.head + 1) + story.window_s
            story.chain.include_other(channel, version, due)

    @rule(minutes=st.integers(1, 10))
    def the_tower_looks(self, minutes: int) -> None:
        self.world.now += 60 * minutes
        self.story.work()
        self.story.mine(1)

    @rule(share=st.floats(0.1, 1.0))
    def it_is_down(self, share: float) -> None:
        """For up to all of the nearest window but its last part."""
        story, fork = self.story, self.story.chain.now
        story.down = True
        left = [story.left_s(s, fork) for s in story.owed(fork).values()]
        over_s = share * (min(left, default=0) - story.reserve_s)
        if over_s > 0:
            story.mine(max(1, int(over_s / story.chain.profile.block_s)))

    @rule(effects=st.integers(0, 9), after=st.booleans())
    def it_will_die(self, effects: int, after: bool) -> None:
        self.world.dies_at, self.world.dies_after = self.world.effects + effects, after

    @rule()
    def a_reorg_takes_blocks(self) -> None:
        self.story.reorg()

    @rule(base_fee=st.sampled_from((20, 100, 3_000, 20_000)))
    def fees_move(self, base_fee: int) -> None:
        self.story.chain.base_fee = base_fee

    @rule()
    @precondition(lambda self: self.story.chain.pool)
    def a_pool_forgets(self) -> None:
        self.story.pool_is_lost()

    @invariant()
    def what_is_acknowledged_only_gets_newer(self) -> None:
        held = self.story.kept
        for channel, version in self.story.acknowledged.items():
            assert held[channel_id(channel)].state.version >= version
            assert version >= self.newest.get(channel, 0)
        self.newest |= self.story.acknowledged

    @invariant()
    def every_stale_close_is_answered_in_time(self) -> None:
        self.story.check()

    def teardown(self) -> None:
        try:
            self.story.heal()
        finally:
            self.places.__exit__(None, None, None)


TestWatchtowerMachine = WatchtowerMachine.TestCase
TestWatchtowerMachine.settings = settings(max_examples=8, stateful_step_count=12)
