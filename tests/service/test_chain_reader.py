"""One reader for index and relayer: it takes no answer for whole that is not.

given nodes behind one address
  ├── when some lag: nothing is left out, nothing is rolled back, however they answer
  ├── when the chain forks: it is rolled back to where it forked, not further
  ├── when a filter denies a log that came: it is not believed again
  └── when the node takes no batches, small ones, or short ranges: it is asked as it likes
given a long history
  ├── it is read by ranges, a few requests each
  ├── a range is as long as few enough logs are in it, wherever they are dense
  └── a node that fails over a long range is asked for a shorter one
"""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_chain import FakeChain, fake_chain
from support.provider import Habits

from corechain.protocol import events as e
from corechain.service.chain_reader import NEAR_BLOCKS, ChainReader
from corechain.service.errors import NodeUnavailable
from corechain.service.known_chain import Behind, Extended, Final, MemoryChain, RolledBack, UpToDate
from corechain.service.reconcile import Ref
from corechain.service.rpc import Log, Rpc

OURS, OTHERS = b"\xc0" * 20, b"\xee" * 20


def happened(n: int, address: bytes = OURS) -> tuple[bytes, e.Event]:
    return address, e.RootVetoed(n)


class Reading:
    """A reader with what it has read."""

    def __init__(self, chain: FakeChain, confirmations: int = 8, max_range: int = 2_000) -> None:
        self.rpc, self.noticed = Rpc(chain.url), list[str]()
        self.reader = ChainReader(
            self.rpc, [OURS], 1, max_range, confirmations, self.noticed.append
        )
        self.known, self.logs, self.rolled = MemoryChain(), list[Log](), list[RolledBack]()

    async def step(self) -> object:
        change = await self.reader.look(self.known)
        if isinstance(change, RolledBack):
            self.rolled.append(change)
            self.known.roll_back(change.to)
            self.logs = [x for x in self.logs if x.block_number <= change.to.number]
        elif isinstance(change, Extended):
            self.logs += change.logs
            self.known.extend(change.blocks)
            self.known.settle(change.final)
        return change

    async def settle(self) -> None:
        while not isinstance(await self.step(), (UpToDate, Behind)):
            pass

    def places(self) -> list[tuple[int, int, bytes]]:
        return [(entry.block_number, entry.index, entry.block_hash) for entry in self.logs]


def all_places(chain: FakeChain) -> list[tuple[int, int, bytes]]:
    return [
        (block.number, index, block.hash)
        for block in chain.blocks
        for index, (address, _) in enumerate(block.happened)
        if address == OURS
    ]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.booleans(), st.booleans(), st.booleans())
async def test_behind_nodes_that_lag_nothing_is_left_out_and_nothing_rolled_back(
    seed: int, splits: bool, silent: bool, blooms: bool
) -> None:
    chance = random.Random(seed)
    traits = {"splits": splits, "silent": silent and blooms, "blooms": blooms}
    with fake_chain(3, chance=random.Random(seed), **traits) as chain:
        reading = Reading(chain)
        for _ in range(12):
            events = [
                happened(1, chance.choice([OURS, OTHERS])) for _ in range(chance.randrange(3))
            ]
            chain.mine(events)
            if chance.random() < 0.5:
                chain.catch_up(chance.randrange(3))
            if chance.random() < 0.3:
                chain.restore(chance.randrange(3))
            await reading.step()
        chain.catch_up()
        await reading.settle()
        assert reading.places() == all_places(chain)
        assert reading.rolled == []
        await reading.rpc.close()


async def test_the_newest_block_is_whole_though_one_node_is_silent_about_it() -> None:
    """Head and headers from one, "no logs" from the other: only the filter tells."""
    with fake_chain(2, silent=True) as chain:
        reading = Reading(chain)
        for n in range(20):
            chain.mine([happened(n)])
            chain.catch_up(0)
            for _ in range(4):
                await reading.step()
            chain.catch_up()
            await reading.settle()
        assert reading.places() == all_places(chain)
        assert reading.rolled == []
        assert "logs" in reading.noticed
        assert "behind" in reading.noticed
        await reading.rpc.close()


async def test_logs_of_the_old_branch_are_not_taken_for_those_of_the_new() -> None:
    with fake_chain(2) as chain:
        reading = Reading(chain)
        for n in range(20):
            chain.mine([happened(n)] * (1 + n % 2))
            chain.catch_up()
            await reading.settle()
            chain.cut(chain.blocks[-1].number - 1)
            for _ in range(2):
                chain.mine([happened(n)] * 3)
            chain.catch_up(0)  # the other one still has the old block
            for _ in range(4):
                await reading.step()
            chain.catch_up()
            await reading.settle()
            assert reading.places() == all_places(chain)
        await reading.rpc.close()


@pytest.mark.parametrize("depth", range(1, 9))
async def test_it_is_rolled_back_to_where_the_chain_forked(depth: int) -> None:
    with fake_chain(3) as chain:
        reading = Reading(chain)
        for n in range(12):
            chain.mine([happened(n)])
        chain.catch_up()
        await reading.settle()
        fork = chain.blocks[-1].number - depth
        chain.cut(fork)
        for n in range(depth + 2):
            chain.mine([happened(n)] * 2)
        # One node is there, the others were set up anew and lack what all had seen.
        for _ in range(3):
            chain.restore(1), chain.restore(2)
        chain.catch_up(0)
        for _ in range(60):
            await reading.step()
        chain.catch_up()
        await reading.settle()
        assert [gone.to.number for gone in reading.rolled] == [fork]
        assert reading.places() == all_places(chain)
        assert [ref.number for ref in reversed(await reading.known.unfinal())] == list(
            range(chain.blocks[-1].number - 8, chain.blocks[-1].number + 1)
        )
        await reading.rpc.close()


async def test_a_filter_that_denied_a_log_is_not_believed_again() -> None:
    with fake_chain(2, zeros=True) as chain:
        reading = Reading(chain)
        chain.mine([happened(1)])
        chain.catch_up()
        await reading.settle()
        chain.mine([happened(2)])
        chain.catch_up(0)  # the other one lags, and its range would lack the log
        for _ in range(40):
            await reading.step()
        chain.catch_up()
        await reading.settle()
        assert reading.places() == all_places(chain)
        await reading.rpc.close()


@pytest.mark.parametrize(
    "habits",
    [Habits(max_batch=0), Habits(max_batch=10), Habits(max_logs=3), Habits(max_range_blocks=2)],
)
@pytest.mark.parametrize("count", [30, NEAR_BLOCKS + 60])
async def test_a_node_is_asked_as_it_likes(habits: Habits, count: int) -> None:
    with fake_chain(1) as chain:
        chain.habits = replace(habits)
        for n in range(count):
            chain.mine([happened(n)] * 2 if n % 5 == 0 else [])
        chain.catch_up()
        reading = Reading(chain)
        await reading.settle()
        assert reading.places() == all_places(chain)
        await reading.rpc.close()


async def test_a_node_that_refuses_the_logs_of_one_block_is_an_outage() -> None:
    with fake_chain(1) as chain:
        chain.habits = Habits(max_logs=1)
        for n in range(NEAR_BLOCKS + 60):
            chain.mine([happened(n)] * 2)
        chain.catch_up()
        reading = Reading(chain)
        with pytest.raises(NodeUnavailable, match="single block"):
            await reading.settle()
        await reading.rpc.close()


async def test_a_long_history_is_read_by_ranges_and_a_quiet_chain_by_one_question() -> None:
    with fake_chain(1) as chain:
        for n in range(2_000):
            chain.mine([happened(n)] if n % 3 == 0 else [])
        chain.catch_up()
        reading = Reading(chain, max_range=500)
        await reading.settle()
        assert reading.places() == all_places(chain)
        headers = len(chain.asked("eth_getBlockByNumber"))
        assert headers < NEAR_BLOCKS + 60
        before = len(chain.calls)
        assert isinstance(await reading.step(), UpToDate)
        assert len(chain.calls) == before + 1
        await reading.rpc.close()


async def test_a_range_is_cut_by_what_it_brings_not_by_blocks_alone() -> None:
    with fake_chain(1) as chain:
        for n in range(1_200):
            chain.mine([happened(n)] * 10 if n > 800 else [])
        chain.catch_up()
        reading = Reading(chain)
        reading.reader.logs_at_once = 100
        while reading.known._refs[-1:] == [] or reading.known._refs[-1].number < 800:
            await reading.step()  # quiet: the ranges grow
        brought = [len(await extended(reading)) for _ in range(12)]
        assert max(brought[3:]) <= 100, brought  # the first ones do not know yet
        await reading.settle()
        assert reading.places() == all_places(chain)
        await reading.rpc.close()


async def extended(reading: Reading) -> Sequence[Log]:
    change = await reading.step()
    assert isinstance(change, Extended)
    return change.logs


async def test_a_node_that_fails_over_a_long_range_is_asked_for_a_shorter_one() -> None:
    with fake_chain(1) as chain:
        chain.habits = Habits(max_range_blocks=20, refusal=(504, None))
        for n in range(NEAR_BLOCKS + 200):
            chain.mine([happened(n)])
        chain.catch_up()
        reading = Reading(chain)
        for _ in range(2):  # 64 and 32 blocks: no answer, as from a proxy that waited too long
            with pytest.raises(NodeUnavailable):
                await reading.settle()
        for _ in range(200):  # a session begins anew after each
            try:
                await reading.settle()
                break
            except NodeUnavailable:
                continue
        assert reading.places() == all_places(chain)
        await reading.rpc.close()


def test_another_block_than_ours_called_final_settles_nothing() -> None:
    known = MemoryChain()
    known.extend([Ref(n, bytes([n])) for n in range(5)])
    assert known.settle(Final(3, b"\x09")) is None
    assert known.settle(Final(3, b"\x03")) == 3
    assert known.settle(Final(2)) is None
