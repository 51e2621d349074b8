"""Several commits of a lane in flight at a time, on a real chain.

given a window of four
  a block takes all that is in flight, in order
  a process that dies between any two sends sends the same bytes again, each commit lands once
  a reorg that drops some takes them back, and they land again under their nonces
  a transaction that the node's pool lost holds up those above it until it is sent again
  a nonce that was used by hand costs its own intent a fresh nonce, and nothing else
  a journal that was lost is rebuilt from what lands, and uses none of its nonces again
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from corechain.protocol.eip712 import uint_word
from corechain.protocol.hashing import keccak
from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain_relayer.errors import OTHER_COMMITMENT, LaneHalted
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import Intent
from corechain_relayer.submitter.settled import Found
from relayer.lane import Lane
from relayer.support import ADMIN, Chain, eventually

SUBMITTER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
WINDOW = 4
HOUR_S = 3_600.0
FINALITY = 64
"""Blocks behind anvil's head that it calls final."""


@pytest.fixture
async def manual(lane: Lane) -> AsyncIterator[Lane]:
    """On a chain that mines when it is told to."""
    chain = lane.chain
    chain.rpc("evm_setAutomine", False)
    yield lane
    chain.rpc("anvil_dropAllTransactions")
    chain.rpc("evm_setAutomine", True)


async def want(lane: Lane, number: int) -> None:
    for batch in range(1, number + 1):
        await lane.want(batch)


def nonces_in_pool(chain: Chain) -> list[int]:
    content = chain.rpc("txpool_content")
    of_all = {**content["pending"], **content["queued"]}
    ours = [of for sender, of in of_all.items() if sender.lower() == SUBMITTER.lower()]
    return sorted(int(nonce) for by_nonce in ours for nonce in by_nonce)


async def all_committed(lane: Lane, number: int) -> bool:
    return list(lane.chain.commitments()) == list(range(1, number + 1))


async def attempts(lane: Lane) -> int:
    return int(await lane.journal.connection.fetchval("select count(*) from attempt"))


async def until_in_pool(lane: Lane, number: int) -> None:
    async def there() -> bool:
        return len(nonces_in_pool(lane.chain)) == number

    await lane.until(there)


async def until_confirmed(lane: Lane, number: int) -> None:
    query = "select count(*) from intent where state in ('confirmed', 'final')"

    async def confirmed() -> bool:
        return bool(await lane.journal.connection.fetchval(query) == number)

    await lane.until(confirmed)


async def test_a_block_takes_all_that_is_in_flight_in_order(manual: Lane) -> None:
    manual.restart(resend_after_s=HOUR_S, bump_after_s=HOUR_S)
    await want(manual, 6)
    await until_in_pool(manual, WINDOW)
    assert not await manual.submitter.step()  # the window is full
    manual.rpc.asked.clear()
    assert not await manual.submitter.step()
    assert manual.rpc.asked.total() == 1  # and there is no other block
    manual.chain.rpc("evm_mine")
    block = manual.block()
    assert len(block["transactions"]) == WINDOW
    await until_in_pool(manual, 2)
    manual.chain.rpc("evm_mine")
    assert await all_committed(manual, 6)
    await until_confirmed(manual, 6)
    assert await attempts(manual) == 6


async def test_a_chain_with_a_block_a_second_takes_more_than_one_commit_a_block(lane: Lane) -> None:
    lane.chain.rpc("evm_setIntervalMining", 1)
    try:
        await want(lane, 8)
        await until_confirmed(lane, 8)
    finally:
        lane.chain.rpc("evm_setIntervalMining", 0)
        lane.chain.rpc("evm_setAutomine", True)
    blocks = await lane.journal.connection.fetch("select distinct block_number from intent")
    assert len(blocks) < 8
    assert await all_committed(lane, 8)


@pytest.mark.parametrize("sent", range(WINDOW + 1))
async def test_a_process_that_dies_between_two_sends_loses_nothing(
    lane: Lane, sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Node.send

    async def send_some(node: Node, transactions: list[bytes]) -> list[NodeRefused | None]:
        if sent:
            await send(node, transactions[:sent])
        raise NodeUnavailable("killed")

    await want(lane, WINDOW)
    with monkeypatch.context() as patch:
        patch.setattr(Node, "send", send_some)
        with pytest.raises(NodeUnavailable):
            await lane.submitter.step()
    eventually(lambda: len(lane.chain.commitments()) == sent)
    lane.restart()
    await until_confirmed(lane, WINDOW)
    assert await all_committed(lane, WINDOW)
    assert await attempts(lane) == WINDOW  # the same bytes, not other ones


async def test_a_process_that_dies_before_it_sends_sends_what_it_signed(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    await want(lane, WINDOW)
    with monkeypatch.context() as patch:
        patch.setattr(Node, "send", lambda node, transactions: never_sent())
        with pytest.raises(NodeUnavailable):
            await lane.submitter.step()
    assert await attempts(lane) == WINDOW
    await want(lane, WINDOW + 2)
    lane.restart()
    await until_confirmed(lane, WINDOW + 2)
    assert await all_committed(lane, WINDOW + 2)


async def never_sent() -> None:
    raise NodeUnavailable("killed")


async def test_a_reorg_that_drops_some_in_flight_lets_them_land_again(manual: Lane) -> None:
    await want(manual, 6)
    await until_in_pool(manual, WINDOW)
    manual.chain.rpc("evm_mine")
    await until_in_pool(manual, 2)  # four in a block, two in flight
    manual.chain.reorg(1)
    assert manual.chain.commitments() == {}
    manual.restart(resend_after_s=0.05)
    await until_in_pool(manual, 6)
    manual.chain.rpc("evm_mine")
    await until_confirmed(manual, 6)
    assert await all_committed(manual, 6)
    assert await attempts(manual) == 6


async def test_what_the_pool_lost_is_sent_again_and_those_above_it_follow(manual: Lane) -> None:
    await want(manual, WINDOW)
    await until_in_pool(manual, WINDOW)
    lowest = manual.chain.rpc("txpool_content")["pending"]
    (by_nonce,) = lowest.values()
    manual.chain.rpc("anvil_dropTransaction", by_nonce[min(by_nonce, key=int)]["hash"])
    manual.restart(resend_after_s=0.05)
    await until_in_pool(manual, WINDOW)
    manual.chain.rpc("evm_mine")
    await until_confirmed(manual, WINDOW)
    assert await all_committed(manual, WINDOW)
    assert await attempts(manual) == WINDOW


async def test_a_nonce_used_by_hand_costs_its_own_intent_a_fresh_one_only(manual: Lane) -> None:
    await want(manual, 6)
    await until_in_pool(manual, WINDOW)
    chain, (first, *_) = manual.chain, nonces_in_pool(manual.chain)
    chain.rpc("anvil_dropAllTransactions")
    by_hand = {"from": SUBMITTER, "to": ADMIN, "value": "0x1", "nonce": hex(first + 1)}
    fees = {"maxFeePerGas": hex(10**11), "maxPriorityFeePerGas": hex(10**10), "gas": hex(50_000)}
    chain.rpc("eth_sendTransaction", by_hand | fees)
    manual.restart(resend_after_s=0.05)
    await until_in_pool(manual, WINDOW)
    chain.rpc("evm_mine")

    async def waits() -> bool:
        return bool(
            await manual.journal.connection.fetchval(
                "select count(*) = 1 from intent where spent_block is not null"
            )
        )

    await manual.until(waits)
    await until_confirmed(manual, WINDOW - 1)
    assert set(chain.commitments()) == {1, 3, 4}  # and nothing new behind what waits
    chain.rpc("anvil_mine", hex(FINALITY + 1))
    chain.rpc("evm_setAutomine", True)
    await until_confirmed(manual, 6)
    assert set(chain.commitments()) == set(range(1, 7))


async def test_what_a_lost_journal_had_sent_is_waited_for_and_found(manual: Lane) -> None:
    await want(manual, 3)
    await until_in_pool(manual, 3)
    await manual.journal.connection.execute("delete from attempt")
    await manual.journal.connection.execute("delete from intent")
    manual.restart()
    await want(manual, 4)  # as the aggregator rebuilds them
    for _ in range(5):
        await manual.submitter.step()
    assert await attempts(manual) == 0  # none of the nonces that are in the pool is used again
    manual.chain.rpc("evm_mine")
    await until_in_pool(manual, 1)
    manual.chain.rpc("evm_mine")
    await until_confirmed(manual, 4)
    assert await all_committed(manual, 4)
    assert await attempts(manual) == 1


async def test_a_node_that_keeps_nothing_above_a_missing_nonce_gets_one_after_the_other(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Node.send

    async def send_one(node: Node, transactions: list[bytes]) -> list[NodeRefused | None]:
        """As a sequencer that answers a request's calls at once."""
        high = NodeRefused("eth_sendRawTransaction", -32000, "nonce too high")
        return [*await send(node, transactions[:1]), *(high for _ in transactions[1:])]

    monkeypatch.setattr(Node, "send", send_one)
    await want(lane, WINDOW + 1)
    await until_confirmed(lane, WINDOW + 1)
    assert await all_committed(lane, WINDOW + 1)
    assert await attempts(lane) == WINDOW + 1


async def test_a_batch_that_is_on_chain_already_leaves_no_gap_in_the_window(lane: Lane) -> None:
    commit = keccak(b"commit(uint48,bytes26)")[:4] + uint_word(2)
    lane.chain.send("DataBatches", commit + keccak(b"2")[:26] + bytes(6), SUBMITTER)
    await want(lane, WINDOW)
    await until_confirmed(lane, WINDOW)
    assert set(lane.chain.commitments()) == set(range(1, WINDOW + 1))
    assert await attempts(lane) == WINDOW - 1


async def test_nothing_new_is_signed_behind_what_the_node_would_not_estimate(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimates = Node.estimates

    async def refuse_second(node: Node, sender: bytes, intents: list[Intent]) -> list[object]:
        found: list[object] = list(await estimates(node, sender, intents))
        return [*found[:1], NodeRefused("eth_estimateGas", -32000, "header not found"), *found[2:]]

    await want(lane, WINDOW)
    with monkeypatch.context() as patch:
        patch.setattr(Node, "estimates", refuse_second)
        await lane.submitter.step()
    assert await attempts(lane) == 1
    await until_confirmed(lane, WINDOW)
    assert await all_committed(lane, WINDOW)


async def until_chased_again(lane: Lane) -> None:
    """A call is signed for each, in place of nothing too."""

    async def chased() -> bool:
        intents = await lane.journal.open_intents(True, [])
        newest = [intent.attempts[-1] for intent in intents]
        return all(one.sent_at is not None and not one.cancels for one in newest)

    await lane.until(chased)


async def test_what_another_stands_in_the_place_of_halts_its_lane_though_it_is_in_a_pool(
    manual: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    manual.restart(resend_after_s=HOUR_S, bump_after_s=0.0)
    await want(manual, 2)
    await manual.submitter.step()
    first = (await manual.journal.open_intents(True, []))[0]
    other = LaneHalted(first.key, "0x07 is committed in its place")

    async def settled(intents: Sequence[Intent]) -> list[Found]:
        return [other if intent.key == first.key else None for intent in intents]

    async def refuse_first(node: Node, sender: bytes, intents: list[Intent]) -> list[object]:
        found = await estimates(node, sender, intents)
        return [
            NodeRefused("eth_estimateGas", 3, "execution reverted") if i.key == first.key else gas
            for i, gas in zip(intents, found, strict=True)
        ]

    estimates, submitter = Node.estimates, manual.submitter
    real, submitter.settled = submitter.settled, settled
    with monkeypatch.context() as patch:
        patch.setattr(Node, "estimates", refuse_first)
        await submitter.step()
    (halt,) = await manual.journal.halts()
    assert (halt.intent, halt.kind) == ("batch:1", OTHER_COMMITMENT)
    assert await manual.state("batch:1") == "pending"
    # What goes on from it comes into no block.
    await submitter.step()
    behind = (await manual.journal.open_intents(True, []))[1]
    assert behind.attempts[-1].cancels
    # A reorg that takes the other one back cures it.
    submitter.settled = real
    manual.restart(bump_after_s=HOUR_S)
    await until_chased_again(manual)
    manual.chain.rpc("evm_mine")
    await until_confirmed(manual, 2)
    assert not await manual.journal.halts()
    assert await all_committed(manual, 2)


async def test_a_window_of_one_commits_one_at_a_time(manual: Lane) -> None:
    manual.submitter.policy = replace(manual.submitter.policy, in_flight=1)
    await want(manual, 2)
    await until_in_pool(manual, 1)
    assert not await manual.submitter.step()
    manual.chain.rpc("evm_mine")
    await until_in_pool(manual, 1)
