"""What an operator wants of transactions is in the journal, and happens whatever is killed.

given a transaction in the pool
  when a bump is wanted, it is replaced once, also by the next process
  when the fee cap leaves no room for one, it stays and `explain` says so
given an intent that an operator cancels
  when nothing is signed for it, it is void at once
  when it is signed, its nonce is spent on nothing, and it is void when that is final
  when a reorg takes that away, it is spent on nothing again
  when it was in a block first, it is done
  when it is a batch's commitment, that is refused
given a paused queue
  nothing is signed or sent, what is in the pool is confirmed, and what is cancelled is
given what has ended or does not exist
  a wish is refused, by a name that says why
"""

from typing import Any

import pytest

from corechain_relayer.submitter.plan import State
from corechain_relayer.transactions.book import Book
from corechain_relayer.transactions.errors import (
    AlreadyMined,
    AlreadyVoid,
    BeingCancelled,
    CommitNotCancellable,
    NothingSigned,
    OfAnotherQueue,
    UnknownQueue,
    UnknownTransaction,
)
from corechain_relayer.transactions.view import View
from relayer.lane import Lane
from relayer.queues import HOUR_S, KEY, QUEUE, Queue

FINALITY = 64
"""Blocks behind anvil's head that it calls final."""


async def attempts(queue: Queue, key: str = KEY) -> list[Any]:
    return await queue.book.attempts((await queue.book.find(key)).id)


async def test_a_bump_that_is_wanted_replaces_the_transaction_once(queue: Queue) -> None:
    await queue.want()
    await queue.rounds()
    (before,) = queue.pool()
    wanted = await queue.book.bump(KEY, "it is urgent")
    kept = (await queue.book.find(KEY)).document()["bump"]
    assert (kept["replaces"], kept["reason"]) == (wanted["replaces"], "it is urgent")
    queue.restart()
    await queue.rounds()
    queue.restart()
    await queue.rounds()
    (after,) = queue.pool()
    assert after["nonce"] == before["nonce"]
    assert after["input"] == before["input"]
    assert int(after["maxFeePerGas"], 16) > int(before["maxFeePerGas"], 16)
    assert len(await attempts(queue)) == 2
    queue.chain.rpc("evm_mine")
    await queue.until(KEY, State.CONFIRMED)
    with pytest.raises(AlreadyMined):
        await queue.book.bump(KEY, "again")


async def test_a_bump_without_room_below_the_cap_says_so(queue: Queue) -> None:
    await queue.want()
    await queue.rounds()
    (signed,) = await attempts(queue)
    queue.lane.restart(max_fee=signed.max_fee, resend_after_s=HOUR_S, bump_after_s=HOUR_S)
    queue.restart()
    await queue.book.bump(KEY, "it is urgent")
    await queue.rounds()
    assert len(await attempts(queue)) == 1
    _, said = await View.of(queue.lane.pool, queue.lane.rpc).explain(KEY)
    assert "FeeCapped" in said.reasons
    assert "RELAYER_MAX_FEE_PER_GAS" in " ".join(said.sentences)
    assert "InPool" in said.reasons
    queue.chain.rpc("anvil_dropAllTransactions")
    _, said = await View.of(queue.lane.pool, queue.lane.rpc).explain(KEY)
    assert "NotInPool" in said.reasons


async def test_what_nothing_is_signed_for_is_void_at_once(queue: Queue) -> None:
    key = await queue.want()
    with pytest.raises(NothingSigned, match="explain"):
        await queue.book.bump(key, "")
    assert (await queue.book.cancel(key, "not needed"))["state"] == "void"
    found = await queue.book.find(key)
    assert (found.state, found.reason) == (State.VOID, "cancelled: not needed")
    await queue.rounds()
    assert queue.pool() == []
    with pytest.raises(AlreadyVoid):
        await queue.book.cancel(key, "again")
    with pytest.raises(AlreadyVoid):
        await queue.book.bump(key, "again")


async def test_what_is_void_and_wanted_again_is_done(queue: Queue) -> None:
    key = await queue.want()
    await queue.book.cancel(key, "not needed")
    await queue.want()
    await queue.rounds()
    queue.chain.rpc("evm_mine")
    await queue.until(key, State.CONFIRMED)
    assert list(queue.chain.commitments()) == [1]


async def test_what_is_void_and_wanted_again_keeps_no_nonce_of_before(queue: Queue) -> None:
    """It gets another one: a nonce of its own that nobody fills would stop all after it."""
    await queue.want()
    await queue.rounds()
    (intent,) = await queue.journal.open_intents(False, ())
    assert intent.nonce == 0
    await queue.journal.void(intent, "somebody else did it")
    await queue.want()
    sender = queue.submitter.signer.address
    assert await queue.journal.free_nonces(sender, 0, 1) == [0]


async def cancelled_in_pool(queue: Queue, *, killed: bool = False) -> None:
    """A transfer of nothing has taken the nonce of the signed intent."""
    await queue.want()
    await queue.rounds()
    assert (await queue.book.cancel(KEY, "wrong root"))["state"] == "cancelling"
    with pytest.raises(BeingCancelled):
        await queue.book.bump(KEY, "")
    if killed:
        queue.restart()
    await queue.rounds()
    (nothing,) = queue.pool()
    assert (nothing["nonce"], nothing["input"], nothing["value"]) == ("0x0", "0x", "0x0")
    assert nothing["from"] == nothing["to"]


@pytest.mark.parametrize("killed", [False, True])
async def test_a_cancelled_intents_nonce_is_spent_on_nothing_and_it_is_void_when_that_is_final(
    queue: Queue, killed: bool
) -> None:
    await cancelled_in_pool(queue, killed=killed)
    queue.chain.rpc("evm_mine")
    await queue.rounds()
    assert (await queue.book.find(KEY)).state is State.PENDING  # a reorg may still undo it
    if killed:
        queue.restart()
    queue.chain.rpc("anvil_mine", hex(FINALITY + 1))
    await queue.until(KEY, State.VOID)
    assert (await queue.book.find(KEY)).reason == "cancelled: wrong root"
    later = await queue.want(2)
    await queue.rounds()
    queue.chain.rpc("evm_mine")
    await queue.until(later, State.CONFIRMED)
    assert list(queue.chain.commitments()) == [2]


async def test_a_reorg_that_takes_the_nothing_away_does_not_bring_the_cancelled_back(
    queue: Queue,
) -> None:
    await cancelled_in_pool(queue)
    queue.chain.rpc("evm_mine")
    await queue.rounds()
    queue.chain.reorg(1)
    queue.chain.rpc("anvil_dropAllTransactions")
    queue.lane.restart(resend_after_s=0.0, bump_after_s=HOUR_S)
    queue.restart()
    await queue.rounds()
    (nothing,) = queue.pool()
    assert nothing["input"] == "0x"
    queue.chain.rpc("anvil_mine", hex(FINALITY + 2))
    await queue.until(KEY, State.VOID)
    assert queue.chain.commitments() == {}


async def test_what_was_in_a_block_before_it_could_be_cancelled_is_done(queue: Queue) -> None:
    await queue.want()
    await queue.rounds()
    await queue.book.cancel(KEY, "too late")
    queue.chain.rpc("evm_mine")
    await queue.until(KEY, State.CONFIRMED)
    assert list(queue.chain.commitments()) == [1]
    with pytest.raises(AlreadyMined):
        await queue.book.cancel(KEY, "again")


async def test_an_intent_that_reverts_when_cancelled_is_given_up_and_not_tried_again(
    queue: Queue,
) -> None:
    """A nonce that is spent for good, by whatever, ends what an operator has cancelled."""
    await queue.want()
    await queue.rounds()
    (ours,) = queue.pool()
    queue.chain.rpc("anvil_dropAllTransactions")
    by_hand = {"from": ours["from"], "to": ours["from"], "value": "0x1", "nonce": ours["nonce"]}
    queue.chain.rpc("eth_sendTransaction", by_hand | {"maxFeePerGas": hex(10**12)})
    queue.chain.rpc("evm_mine")
    await queue.book.cancel(KEY, "wrong root")
    await queue.rounds()
    queue.chain.rpc("anvil_mine", hex(FINALITY + 1))
    await queue.until(KEY, State.VOID)
    assert queue.chain.commitments() == {}


async def test_a_batchs_commitment_is_never_cancelled(lane: Lane) -> None:
    await lane.want(1)
    book = Book(lane.pool)
    with pytest.raises(CommitNotCancellable, match="corechain tx pause lane:0"):
        await book.cancel("batch:1", "no")
    await lane.until_confirmed("batch:1")


async def test_in_a_paused_queue_nothing_is_signed_and_what_is_sent_is_confirmed(
    queue: Queue,
) -> None:
    await queue.want(1)
    await queue.rounds()
    await queue.book.pause(QUEUE, "fees are high")
    again = await queue.book.pause(QUEUE, "another reason")
    kept = {"queue": QUEUE, "state": "paused", "reason": "fees are high", "was_paused": True}
    assert again == kept
    await queue.want(2)
    await queue.rounds()
    queue.restart()
    queue.chain.rpc("evm_mine")
    await queue.until("rewards:1", State.CONFIRMED)
    await queue.rounds()
    found = await queue.book.find("rewards:2")
    assert (found.state, found.attempts) == (State.QUEUED, 0)
    assert found.reason == "QueuePaused: fees are high"
    for asked_for in (QUEUE, None):
        (said,) = await queue.book.pauses(asked_for)
        assert said.startswith(f"{QUEUE} is paused since ")
        assert said.endswith(f"(fees are high): `corechain tx resume {QUEUE}`")
    assert await queue.book.pauses("lane:0") == []
    assert queue.pool() == []

    assert (await queue.book.resume(QUEUE))["was_paused"]
    assert not (await queue.book.resume(QUEUE))["was_paused"]
    await queue.rounds()
    queue.chain.rpc("evm_mine")
    await queue.until("rewards:2", State.CONFIRMED)


async def test_what_is_cancelled_in_a_paused_queue_is_cancelled(queue: Queue) -> None:
    await queue.want()
    await queue.rounds()
    await queue.book.pause(QUEUE, "the root is wrong")
    await queue.book.cancel(KEY, "wrong root")
    await queue.rounds()
    (nothing,) = queue.pool()
    assert nothing["input"] == "0x"


async def test_a_wish_wakes_a_queue_whose_window_is_full(queue: Queue) -> None:
    queue.lane.restart(in_flight=1, resend_after_s=HOUR_S, bump_after_s=HOUR_S)
    queue.restart()
    await queue.want()
    await queue.rounds()
    assert not await queue.submitter.step()  # full: nothing to do before another block
    await queue.book.bump(KEY, "it is urgent")
    await queue.rounds()
    assert len(await attempts(queue)) == 2


async def test_what_does_not_exist_is_refused_by_name(queue: Queue) -> None:
    await queue.want()
    for name in ("rewards:9", "99", "0x" + 64 * "a", "\0", "9" * 40, ""):
        with pytest.raises(UnknownTransaction):
            await queue.book.find(name)
    with pytest.raises(UnknownQueue, match="rewards"):
        await queue.book.pause("lane:77", "no")
    with pytest.raises(UnknownQueue):
        await queue.book.page("lane:77")
    await queue.rounds()
    await queue.lane.journal.connection.execute(
        "update intent set spent_block = 9, spent_hash = $1", bytes(32)
    )
    with pytest.raises(AlreadyMined, match="its nonce spent in 9"):
        await queue.book.bump(KEY, "the pool is slow")


async def test_only_what_is_named_and_belongs_together_is_released(queue: Queue) -> None:
    await queue.want()
    another = await queue.want(2)
    database = queue.lane.journal.connection
    halt = "halt_kind = 'KeepsReverting', halt_reason = 'it reverts', halted_at = now()"
    await database.execute(f"update intent set {halt}")
    await database.execute("update intent set queue = 'lane:7' where key = $1", another)
    with pytest.raises(OfAnotherQueue, match="lane:7"):
        await queue.book.release(QUEUE, another)
    number = (await queue.book.find(KEY)).id
    assert await queue.book.release(QUEUE, str(number)) == [KEY]
    assert await queue.book.release(QUEUE, None) == []
    assert await queue.book.release(None, None) == [another]


async def test_an_intent_is_found_by_number_key_and_any_of_its_hashes(queue: Queue) -> None:
    await queue.want()
    await queue.rounds()
    by_key = await queue.book.find(KEY)
    (attempt,) = await attempts(queue)
    assert await queue.book.find(str(by_key.id)) == by_key
    assert await queue.book.find("0x" + attempt.hash.hex()) == by_key


async def test_a_page_begins_where_the_last_one_ended(queue: Queue) -> None:
    keys = [await queue.want(number) for number in range(1, 6)]
    first = await queue.book.page(QUEUE, limit=2)
    rest = await queue.book.page(QUEUE, before=first[-1].id, limit=9)
    assert [item.key for item in (*first, *rest)] == keys[::-1]


async def test_what_a_submitter_was_refused_is_in_the_journal_until_it_is_over(
    queue: Queue,
) -> None:
    await queue.want()
    sender = f"0x{queue.submitter.signer.address.hex()}"
    balance = queue.chain.rpc("eth_getBalance", sender, "latest")
    queue.chain.rpc("anvil_setBalance", sender, "0x0")
    await queue.rounds()
    view = View.of(queue.lane.pool, queue.lane.rpc)
    facts, said = await view.explain(KEY)
    assert facts.transaction.wait is not None
    assert facts.transaction.wait.kind == "InsufficientFunds"
    assert said.stuck
    assert {"InsufficientFunds", "NoFunds"} <= set(said.reasons)
    queue.restart()  # a new process has not been refused yet
    queue.chain.rpc("anvil_setBalance", sender, balance)
    await queue.rounds()
    assert (await queue.book.find(KEY)).wait is None
    assert len(queue.pool()) == 1
