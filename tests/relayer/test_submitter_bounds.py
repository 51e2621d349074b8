"""What a round of the submitter costs grows neither with what is confirmed nor with the chain.

given thousands of intents that are confirmed and not final
  a new one is committed as soon as without them, with a handful of questions a round
  a reorg takes back those that it took, by evidence; a node that is behind takes back nothing
  what is final becomes so in a few statements
given a deployment far behind the head
  a commit asks for the logs of no block twice
given a node that answers oddly
  nothing is believed that is not a receipt, a count, a block
"""

import json
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from support.node import odd_node, result

from corechain.protocol.hashing import keccak
from corechain.service.database import migrate
from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain.service.quorum import Quorum
from corechain.service.rpc import Block, Rpc
from corechain_relayer.errors import TRANSACTION_REFUSED
from corechain_relayer.journal.sql import migrations
from corechain_relayer.submitter.commits import CommitSearch, CommitStore
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.look import BLOCKS_A_ROUND
from corechain_relayer.submitter.node import Node, id_of, refusal_of
from corechain_relayer.submitter.plan import Fees, State
from relayer.lane import CONFIRMED, RANGE, Lane


async def counts(lane: Lane) -> dict[State, int]:
    return await lane.counts()


async def test_thousands_of_confirmed_intents_hold_up_nothing_and_cost_nothing(lane: Lane) -> None:
    await lane.many_confirmed(lane.block())
    await lane.want(1)
    queries: list[str] = []
    lane.journal.connection.add_query_logger(lambda record: queries.append(record.query))
    rounds, busy = await lane.until_confirmed("batch:1")
    assert busy <= 3
    assert lane.rpc.asked.total() <= 16 * rounds
    assert lane.rpc.asked["eth_getTransactionReceipt"] <= 3
    assert len(queries) <= 14 * rounds
    assert (await counts(lane))[State.CONFIRMED] == CONFIRMED + 1


async def test_a_reorg_takes_back_what_it_took_by_one_question_a_block(lane: Lane) -> None:
    lane.mine(160)  # now the base fee is as low as it gets, and a new block may equal the old one
    await lane.many_confirmed(lane.block())
    await lane.submitter.step()
    assert (await counts(lane))[State.CONFIRMED] == CONFIRMED
    lane.chain.reorg(1)
    lane.rpc.asked.clear()
    await lane.submitter.step()
    assert (await counts(lane)).get(State.CONFIRMED, 0) == 0
    assert lane.rpc.asked.total() <= 7  # five of them are a look, in one request


async def test_a_block_that_the_node_has_not_seen_is_no_evidence(lane: Lane) -> None:
    head = lane.block()
    above = head | {"number": hex(int(head["number"], 16) + 5), "hash": "0x" + "ab" * 32}
    await lane.many_confirmed(above, 10)
    await lane.submitter.step()
    assert (await counts(lane))[State.CONFIRMED] == 10
    lane.mine(5)  # now there is another block in its place
    await lane.submitter.step()
    assert (await counts(lane))[State.PENDING] == 10


async def test_what_is_final_becomes_so_a_bounded_number_of_blocks_at_a_time(lane: Lane) -> None:
    first = int(lane.block()["number"], 16)
    blocks = BLOCKS_A_ROUND + 10
    lane.mine(blocks + 70)
    for number in range(first + 1, first + 1 + blocks):
        found = lane.chain.rpc("eth_getBlockByNumber", hex(number), False)
        await lane.journal.connection.execute(
            """insert into intent (queue, key, target, calldata, state, transaction, block_number,
                                   block_hash)
               values ('lane:0', 'old:' || $1::bigint, $2, $2, 'confirmed', $3, $1, $3)""",
            number,
            bytes(20),
            bytes.fromhex(found["hash"][2:]),
        )
    assert await lane.submitter.step()
    assert (await counts(lane))[State.CONFIRMED] == 10
    # The head is asked for with them: a node on another fork makes nothing final.
    assert lane.rpc.asked.total() <= BLOCKS_A_ROUND + 8
    assert await lane.submitter.step()
    assert await counts(lane) == {}


async def test_a_node_that_has_not_the_head_says_nothing_of_other_blocks(lane: Lane) -> None:
    """On its own fork all may stand that is gone on ours."""
    node, head = lane.submitter.node, await lane.rpc.head()
    below = await lane.rpc.block(head.number - 1)
    assert below is not None
    assert (await node.standing([id_of(below)], head))[id_of(below)]
    for other in (replace(head, hash=b"\7" * 32), replace(head, number=head.number + 1)):
        assert await node.standing([id_of(below)], other) == {}


async def test_nothing_becomes_final_whose_block_is_another_one(lane: Lane) -> None:
    head = lane.block()
    await lane.many_confirmed(head | {"hash": "0x" + "ab" * 32}, 2)
    lane.mine(70)
    # Newer ones that stand vouch for them, until their own block is asked for.
    newest = lane.block()
    await lane.journal.connection.execute(
        """insert into intent (queue, key, target, calldata, state, transaction, block_number,
                               block_hash)
           values ('lane:0', 'new', $1, $1, 'confirmed', $2, $3, $2)""",
        bytes(20),
        bytes.fromhex(newest["hash"][2:]),
        int(newest["number"], 16),
    )
    await lane.submitter.step()
    assert await counts(lane) == {State.PENDING: 2, State.CONFIRMED: 1}


async def test_a_commit_reads_the_logs_of_no_block_twice(lane: Lane) -> None:
    lane.mine(200)
    await lane.want(1)
    await lane.until_confirmed("batch:1")
    first = lane.rpc.asked["eth_getLogs"]
    assert first >= 200 // RANGE  # once from the deployment on, piece by piece
    for number in (2, 3, 4):
        lane.rpc.asked.clear()
        await lane.want(number)
        await lane.until_confirmed(f"batch:{number}")
        assert lane.rpc.asked["eth_getLogs"] <= 1

    # A new process goes on from the position in the journal: only what is not final is read again.
    again = CommitSearch(
        lane.submitter.node, lane.chain.deployment, CommitStore(lane.pool, 0), RANGE
    )
    lane.rpc.asked.clear()
    await again.refresh()
    assert lane.rpc.asked["eth_getLogs"] <= 64 // RANGE + 2
    found = await again.find_all([2])
    assert found[2].commitment == keccak(b"2")[:26]


async def test_what_is_found_final_is_found_again_by_the_next_process(lane: Lane) -> None:
    """A batch that somebody else committed, far below the final block."""
    commitment = keccak(b"1")[:26]
    commit = keccak(b"commit(uint48,bytes26)")[:4] + (1).to_bytes(32, "big")
    submitter = "0x" + lane.submitter.signer.address.hex()
    lane.chain.send("DataBatches", commit + commitment + bytes(6), submitter)
    lane.mine(100)
    store = CommitStore(lane.pool, 0)
    for _ in range(2):
        search = CommitSearch(lane.submitter.node, lane.chain.deployment, store, 1_000)
        await search.refresh()
        assert search.recent == {}
        found = await search.find_all([1])
        assert found[1].commitment == commitment
    assert await store.unaccounted() == {1: commitment}
    await lane.want(1)
    await lane.until_confirmed("batch:1")
    assert lane.chain.commitments() == {1: commitment}


# ------------------------------------------------------------------ odd answers

RECEIPT = {
    "transactionHash": "0x" + "11" * 32,
    "blockNumber": "0x10",
    "blockHash": "0x" + "22" * 32,
    "status": "0x1",
    "gasUsed": "0x5208",
}
TX = b"\x11" * 32
ODD = {
    "no status": {k: v for k, v in RECEIPT.items() if k != "status"},
    "status null": RECEIPT | {"status": None},
    "status 2": RECEIPT | {"status": "0x2"},
    "no gas": RECEIPT | {"gasUsed": None},
    "of another transaction": RECEIPT | {"transactionHash": "0x" + "33" * 32},
    "a short hash": RECEIPT | {"blockHash": "0x22"},
    "a number as text": RECEIPT | {"blockNumber": "16"},
    "a block beyond all": RECEIPT | {"blockNumber": "0x" + "f" * 16},
    "text": "receipt",
}


async def node_saying(value: Any, question: Any) -> Any:
    async with odd_node(result(value)) as odd:
        rpc = Rpc(odd.url, 5.0)
        try:
            return await question(Node(rpc, 64, 10**12, 0))
        finally:
            await rpc.close()


@pytest.mark.parametrize("raw", ODD.values(), ids=ODD.keys())
async def test_a_receipt_that_says_too_little_is_an_outage(raw: Any) -> None:
    with pytest.raises(NodeUnavailable):
        await node_saying(raw, lambda node: node.receipts([TX]))


@pytest.mark.parametrize("raw", [None, RECEIPT | {"blockNumber": None}])
async def test_a_transaction_in_no_block_has_no_receipt(raw: Any) -> None:
    assert await node_saying(raw, lambda node: node.receipts([TX])) == {}


@pytest.mark.parametrize("raw", [None, 5, "0x", "0x" + "f" * 16, "ten"])
async def test_a_count_that_is_none_is_an_outage(raw: Any) -> None:
    with pytest.raises(NodeUnavailable):
        await node_saying(raw, lambda node: node.count(bytes(20)))


@pytest.mark.parametrize(("raw", "seen"), [(None, set()), ({"hash": "0x" + TX.hex()}, {TX})])
async def test_a_node_says_whether_it_has_a_transaction(raw: Any, seen: set[bytes]) -> None:
    assert await node_saying(raw, lambda node: node.seen([TX])) == seen


def refusing(message: str, code: int = -32000) -> Any:
    def reply(request: Any) -> tuple[int, bytes]:
        error = {"code": code, "message": message}
        return 200, json.dumps({"id": request["id"], "error": error}).encode()

    return reply


async def test_a_refusal_does_not_say_that_a_transaction_is_nowhere() -> None:
    """Its nonce would be given to another one."""
    async with odd_node(refusing("limit exceeded", -32005)) as odd:
        with pytest.raises(NodeUnavailable):
            await Node(Rpc(odd.url, 5.0), 2, 10**12, 0).seen([TX])


@pytest.mark.parametrize("third", ["refuses", "is silent"])
@pytest.mark.parametrize("there", [False, True])
async def test_one_that_does_not_say_is_enough_unless_another_node_has_it(
    there: bool, third: str
) -> None:
    """Each has a pool of its own: the one that does not say may be the one that took it."""
    held = {"hash": "0x" + TX.hex()} if there else None
    async with AsyncExitStack() as stack:
        answers = [result(held), result(None), refusing("limit exceeded", -32005)]
        urls = [(await stack.enter_async_context(odd_node(answer))).url for answer in answers]
        urls[2] = urls[2] if third == "refuses" else "http://127.0.0.1:1"
        nodes = Quorum(urls, 2, 5.0, 32, lambda *_: None)
        stack.push_async_callback(nodes.close)
        node = Node(nodes, 2, 10**12, 0)
        if there:
            assert await node.seen([TX]) == {TX}
        else:
            with pytest.raises(NodeUnavailable, match=r"limit exceeded|is silent"):
                await node.seen([TX])


async def test_only_a_node_that_says_it_has_no_final_tag_is_taken_for_one_without() -> None:
    final = {"number": "0x5", "hash": "0x" + "11" * 32, "parentHash": "0x" + "22" * 32}
    head = Block(100, b"\1" * 32, b"\2" * 32, 5, 0)
    async with odd_node(refusing("limit exceeded", -32005)) as odd:
        rpc = Rpc(odd.url, 5.0)
        node = Node(rpc, 2, 10**12, 0)
        assert await node.final_block(head) == 0  # nobody knows yet
        odd.reply = refusing("invalid block tag")
        assert await node.final_block(head) == 98  # a node without the tag: so many blocks back
        odd.reply = result(final | {"timestamp": "0x1"})
        assert await node.final_block(head) == 5
        for odd.reply in (refusing("server error"), refusing("unknown tag"), result(None)):
            assert await node.final_block(head) == 5
        await rpc.close()


@pytest.mark.parametrize(
    ("message", "data", "reason"),
    [
        ("execution reverted", None, "WouldRevert"),
        ("execution reverted: insufficient balance", None, "WouldRevert"),
        ("anything", "0x12345678", "WouldRevert"),
        ("anything", "0x", "NotEstimated"),
        ("gas required exceeds allowance (0)", None, "InsufficientFunds"),
        ("insufficient funds for gas * price + value", None, "InsufficientFunds"),
        ("header not found", None, "NotEstimated"),
    ],
)
def test_why_a_call_cannot_be_estimated_is_told_apart(
    message: str, data: str | None, reason: str
) -> None:
    assert refusal_of(NodeRefused("eth_estimateGas", 3, message, data)) == reason


# ------------------------------------------------------------------ refused for good


async def test_what_the_node_refuses_for_good_halts_and_gives_its_nonce_back(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lane.want(1)

    async def refuse(self: Node, transactions: list[bytes]) -> list[NodeRefused]:
        said = NodeRefused("eth_sendRawTransaction", -32000, "oversized data")
        return [said for _ in transactions]

    with monkeypatch.context() as patch:
        patch.setattr(Node, "send", refuse)
        for _ in range(3):
            await lane.submitter.step()
    (halt,) = await lane.journal.halts()
    assert (halt.intent, halt.kind) == ("batch:1", TRANSACTION_REFUSED)
    assert not await lane.submitter.step()
    sender = lane.submitter.signer.address
    count = await lane.submitter.node.count(sender)
    assert await lane.journal.free_nonces(sender, count, 2) == [count, count + 1]
    intents = await lane.journal.open_intents(True, ())
    await lane.journal.release(intents[0])
    await lane.until_confirmed("batch:1")


async def test_what_a_node_has_is_not_unbound_whatever_was_said_of_it(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Node.send

    async def take_and_refuse(self: Node, transactions: list[bytes]) -> list[NodeRefused]:
        await send(self, transactions)  # and its answer was lost
        said = NodeRefused("eth_sendRawTransaction", -32000, "oversized data")
        return [said for _ in transactions]

    await lane.want(1)
    with monkeypatch.context() as patch:
        patch.setattr(Node, "send", take_and_refuse)
        for _ in range(3):
            await lane.submitter.step()
    assert await lane.journal.halts() == []
    await lane.until_confirmed("batch:1")


async def test_an_intent_that_changed_under_our_hands_is_not_signed_for(lane: Lane) -> None:
    await lane.want(1)
    (intent,) = await lane.journal.open_intents(True, ())
    await lane.journal.void(intent, "answered by others")
    sender = lane.submitter.signer
    attempt = sender.sign(intent, 0, Fees(1, 1), 21_000, 1.0)
    with pytest.raises(Exception, match="has changed"):
        await lane.journal.record([(intent, attempt)], sender.address)


async def test_the_journal_of_an_older_version_is_brought_up_with_its_attempts(
    empty_database: str,
) -> None:
    older = [item for item in migrations() if item[0] < "0004"]
    await migrate(empty_database, older)
    connection = await asyncpg.connect(empty_database)
    await connection.execute(
        """insert into intent (queue, key, target, calldata, state, sender, nonce)
           values ('lane:0', 'batch:1', $1, $1, 'pending', $1, 7)""",
        bytes(20),
    )
    await connection.execute(
        """insert into attempt (hash, intent_id, nonce, raw, max_fee, priority_fee, signed_at)
           select $1, id, 7, $1, 1, 1, 0 from intent""",
        bytes(32),
    )
    assert "0004_halts.sql" in await migrate(empty_database, migrations())
    journal = IntentJournal(connection, "lane:0")
    (intent,) = await journal.open_intents(True, ())
    assert [attempt.nonce for attempt in intent.attempts] == [7]
    assert await journal.free_nonces(bytes(20), 7, 1) == [8]
    await connection.close()
