"""What is final never follows from an answer that failed.

given a node that named its final block
  ├── null, a refusal, a limit, a block far ahead, even "no such tag": it stays, and is warned of
  └── its genesis is its genesis: nothing is final by depth
given a node that has not said anything of it yet
  ├── after a refusal nothing is final, until it answers
  └── after "no such tag" depth counts, until it names a block
given several nodes
  ├── depth counts when enough of them say that there is no such tag, and only then
  └── where they cannot agree on a final block, the blocks are read on
given an operator who has decided that depth counts
  └── it does, whatever one node or several call final, and they are not asked
"""

from contextlib import ExitStack
from typing import Any

import pytest
from support.fake_chain import NO_TAG, FakeChain, fake_chain

from corechain.rpc_errors import denies_tag
from corechain.service.chain_reader import ChainReader
from corechain.service.errors import NodeRefused
from corechain.service.finality import AHEAD_BLOCKS, Finality
from corechain.service.known_chain import Extended, Final, MemoryChain
from corechain.service.nodes import node_at
from corechain.service.quorum import Quorum
from corechain.service.rpc import Questions, Rpc
from corechain.service.words import parse_block

OURS, CONFIRMATIONS = b"\xc0" * 20, 3
LIMIT = {"code": -32005, "message": "limit exceeded"}
NOT_FOUND = {"code": -32000, "message": "finalized block not found"}
FAR = 100_000
UNSAID: dict[str, Any] = {
    "null": None, "a limit": LIMIT, "none yet": NOT_FOUND, "far ahead": FAR,
}  # fmt: skip


class Reading:
    """A reader of the chain that nodes serve, and what it last called final."""

    def __init__(self, rpc: Questions, *chains: FakeChain) -> None:
        self.rpc, self.chains, self.noticed = rpc, chains, list[str]()
        self.reader = ChainReader(rpc, [OURS], 1, 2_000, CONFIRMATIONS, self.noticed.append)
        self.known = MemoryChain()

    async def grow(self, blocks: int = 1) -> Final:
        """The final block after so many more blocks."""
        for _ in range(blocks):
            block = self.chains[0].mine()
            for other in self.chains[1:]:
                other.blocks.append(block)
        for chain in self.chains:
            chain.catch_up()
        self.rpc.stir()
        while True:
            change = await self.reader.look(self.known)
            assert isinstance(change, Extended), change
            self.known.extend(change.blocks)
            self.known.settle(change.final)
            if change.blocks[-1].number == self.chains[0].blocks[-1].number:
                return change.final


@pytest.mark.parametrize("unsaid", [*UNSAID, "no such tag"])
async def test_a_node_that_named_its_final_block_keeps_its_word(unsaid: str) -> None:
    with fake_chain(1, final=2) as chain:
        reading = Reading(Rpc(chain.url), chain)
        assert (await reading.grow(14)).number == 2
        assert (reading.noticed, reading.reader.warnings()) == ([], [])
        chain.final = (UNSAID | {"no such tag": NO_TAG})[unsaid]
        assert (await reading.grow(5)).number == 2
        assert reading.noticed == ["final"]
        assert "no final block" in reading.reader.warnings()[0]
        chain.final = 7
        assert (await reading.grow()).number == 7
        assert reading.reader.warnings() == []
        await reading.rpc.close()


async def test_a_node_whose_final_block_is_its_genesis_has_no_other() -> None:
    with fake_chain(1, final=0) as chain:
        reading = Reading(Rpc(chain.url), chain)
        assert (await reading.grow(14)).number == 0
        assert reading.reader.warnings() == []
        await reading.rpc.close()


@pytest.mark.parametrize("unsaid", UNSAID)
async def test_before_the_first_answer_nothing_is_final(unsaid: str) -> None:
    with fake_chain(1, final=UNSAID[unsaid]) as chain:
        reading = Reading(Rpc(chain.url), chain)
        assert (await reading.grow(14)).number == 0
        assert reading.reader.warnings()
        chain.final = dict(NO_TAG)
        # A block far ahead was of a node that has the tag: it is not one without it any more.
        expected = 0 if unsaid == "far ahead" else 15 - CONFIRMATIONS
        assert (await reading.grow()).number == expected
        await reading.rpc.close()


async def test_a_node_without_the_tag_is_one_until_it_names_a_block() -> None:
    with fake_chain(1) as chain:
        reading = Reading(Rpc(chain.url), chain)
        assert (await reading.grow(10)).number == 10 - CONFIRMATIONS
        chain.final = LIMIT
        assert (await reading.grow()).number == 11 - CONFIRMATIONS
        assert reading.noticed == []
        chain.final = 9
        assert (await reading.grow()).tagged
        chain.final = dict(NO_TAG)
        assert (await reading.grow()).number == 9
        await reading.rpc.close()


async def test_a_final_block_a_little_ahead_counts_when_the_head_is_there() -> None:
    with fake_chain(1) as chain:
        blocks = [parse_block(chain.mine().header) for _ in range(AHEAD_BLOCKS + 3)]
        raw = chain.blocks[4].header
        finality = Finality(CONFIRMATIONS)
        assert finality.judge(raw, blocks[2]).number == 0
        assert finality.judge(None, blocks[3]).number == 4
        assert finality.judge(None, blocks[2]).number == 0  # a chain that does not reach so far


@pytest.mark.parametrize(
    ("said", "final"),
    [
        ((NO_TAG, NO_TAG, 4), 10 - CONFIRMATIONS), ((4, 4, NO_TAG), 4), ((4, 4, LIMIT), 4),
        ((NO_TAG, LIMIT, LIMIT), 0), ((NO_TAG, None, LIMIT), 0), ((LIMIT, LIMIT, 4), 0),
    ],
)  # fmt: skip
async def test_several_nodes_have_no_tag_when_enough_say_so(
    said: tuple[Any, ...], final: int
) -> None:
    assert (await named_by(said, 2)).number == final


async def test_who_cannot_agree_on_a_final_block_is_read_on() -> None:
    assert (await named_by((4, NO_TAG), 2)).number == 0


async def named_by(said: tuple[Any, ...], quorum: int) -> Final:
    with ExitStack() as stack:
        chains = [stack.enter_context(fake_chain(1, final=each)) for each in said]
        rpc = Quorum([chain.url for chain in chains], quorum, 5.0, 4)
        final = await Reading(rpc, *chains).grow(10)
        await rpc.close()
        return final


@pytest.mark.parametrize(
    ("code", "message", "denies"),
    [
        (-32602, "invalid argument 0: hex string without 0x prefix", True),
        (-32602, 'Errors encountered in param 0: Invalid value "finalized" supplied to', True),
        (-32000, "invalid block tag", True),
        (-32004, "Method not supported", True),
        (-32601, "the method is unknown", True),
        (-32000, "tag finalized is not supported", True),
        (-32005, "limit exceeded", False),
        (-32602, "Too Many Requests", False),
        (-39001, "Unknown block", False),
        (-32000, "finalized block not found", False),
        (-32603, "internal error", False),
    ],
)
def test_what_says_that_there_is_no_such_tag(code: int, message: str, denies: bool) -> None:
    assert denies_tag(code, message) is denies


@pytest.mark.parametrize(("count", "said"), [(1, FAR), (1, None), (3, 4), (3, NOT_FOUND)])
async def test_depth_counts_where_an_operator_has_decided_so(count: int, said: Any) -> None:
    with ExitStack() as stack:
        chains = [stack.enter_context(fake_chain()) for _ in range(count)]
        rpc = node_at([chain.url for chain in chains], count // 2 + 1, 20.0, 32, by_depth=True)
        for chain in chains:
            chain.final = said
        reading = Reading(rpc, *chains)
        assert await reading.grow(10) == Final(10 - CONFIRMATIONS)
        assert await reading.grow(2) == Final(12 - CONFIRMATIONS)
        assert (reading.noticed, reading.reader.warnings()) == ([], [])
        for tag in ("finalized", "safe"):
            with pytest.raises(NodeRefused, match="depth counts"):
                await rpc.call("eth_getBlockByNumber", tag, False)
        await rpc.close()
