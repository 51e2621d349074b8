"""What another transaction did, of a stranger or of a lost journal; and what none will do.

given an intent that another transaction did
  the nonce of its own is nobody's: who is signed for next keeps it, also after another reorg
  it is done only when that one's block is on the chain that our node is on
given an answer or an accusation that a reorg brings back while another one is being recorded
  it stays the only one on its way
given what the challenger has sent in vain too often
  it says so as long as that is wanted
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from corechain.protocol.hashing import keccak
from corechain.service.errors import NodeBehind
from corechain_relayer import behind
from corechain_relayer.challenger import wanting as wanting_of
from corechain_relayer.challenger.alerts import ChallengerAlerts
from corechain_relayer.challenger.store import MOST_TRIES, ChallengerStore, Sent
from corechain_relayer.challenger.wanting import Wanting
from corechain_relayer.guard.demands import OpenDemand
from corechain_relayer.guard.store import AnswerStore, Wanted
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.plan import Intent, Receipt, State
from corechain_relayer.submitter.settled import Found
from relayer.queues import KEY, Queue


@pytest.mark.parametrize("by_another", [True, False])
async def test_the_nonce_of_what_another_transaction_did_is_nobodys(
    queue: Queue, by_another: bool
) -> None:
    """After a reorg nothing sends its own again, and all above that nonce would wait for ever."""
    await queue.want()
    await queue.rounds()
    (intent,) = await queue.journal.open_intents(False, ())
    did = keccak(b"of somebody else") if by_another else intent.hashes[0]
    await queue.journal.confirm([(intent, Receipt(did, 1, bytes(32), True, 21_000))])
    sender = queue.submitter.signer.address
    assert await queue.journal.free_nonces(sender, 0, 1) == [0 if by_another else 1]


async def test_who_got_that_nonce_keeps_it_when_the_other_transaction_is_gone(queue: Queue) -> None:
    """Two intents under one nonce would outbid each other up to the cap."""
    first, journal = await queue.want(), queue.journal
    await queue.rounds()
    (intent,) = await journal.open_intents(False, ())
    done = Receipt(keccak(b"of somebody else"), 1, bytes(32), True, 21_000)
    await journal.confirm([(intent, done)])
    # A reorg brings our transaction's nonce back, and it is given to the next.
    await queue.journal.want("second", intent.target, b"")
    (second,) = await journal.open_intents(False, ())
    sender = queue.submitter.signer.address
    attempt = replace(intent.attempts[-1], hash=keccak(b"second"), raw=b"second")
    await journal.record([(second, attempt)], sender)
    # Another one takes what the stranger did.
    assert await journal.unconfirm([done.block]) == [first]
    found = {item.key: item for item in await journal.open_intents(False, ())}
    assert (found["second"].state, found["second"].nonce) == (State.PENDING, 0)
    assert (found[first].state, found[first].nonce) == (State.QUEUED, None)
    assert await journal.free_nonces(sender, 0, 1) == [1]
    await journal.record([(found[first], replace(attempt, hash=done.hash, nonce=1))], sender)
    # What has the nonce is needed no more: it is free, and not for ever the first one's.
    await journal.void(found["second"], "not needed")
    assert await journal.free_nonces(sender, 0, 1) == [0]


async def test_what_was_in_a_block_was_sent_though_nobody_has_written_that(queue: Queue) -> None:
    """After a reorg it may be in a pool: its nonce is not given to another."""
    await queue.want()
    await queue.rounds()
    (intent,) = await queue.journal.open_intents(False, ())
    await queue.journal.connection.execute("update attempt set sent_at = null")  # died before
    (tx,) = intent.hashes
    await queue.journal.note_costs([Receipt(tx, 1, bytes(32), True, 21_000, 7)])
    (found,) = await queue.journal.open_intents(False, ())
    assert found.attempts[0].sent_at == found.attempts[0].signed_at


async def test_what_another_transaction_did_counts_when_its_block_is_on_our_nodes_chain(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two nodes behind one address one may be on another fork: the next look may be of the
    other, so that ends no session, unless it lasts."""
    await queue.want()
    head = queue.chain.rpc("eth_getBlockByNumber", "latest", False)
    number, here = int(head["number"], 16), bytes.fromhex(head["hash"][2:])

    async def settle(block: bytes) -> None:
        async def done(intents: Sequence[Intent]) -> list[Found]:
            return [Receipt(keccak(b"theirs"), number, block, True, 21_000) for _ in intents]

        queue.submitter.settled = done
        await queue.submitter.step()

    await settle(keccak(b"of another fork"))
    monkeypatch.setattr(behind, "BEHIND_LIMIT_S", 0.0)
    with pytest.raises(NodeBehind):
        await settle(keccak(b"of another fork"))
    assert (await queue.book.find(KEY)).state == State.QUEUED
    await settle(here)
    assert (await queue.book.find(KEY)).state == State.CONFIRMED


async def test_beside_what_a_reorg_brings_back_nothing_is_recorded(queue: Queue) -> None:
    """Whoever looked before the reorg saw that it was done, for an earlier demand."""
    pool, sender = queue.lane.pool, queue.submitter.signer.address
    answers, accusations, purpose = AnswerStore(pool), ChallengerStore(pool), "expire:aa"
    demand = OpenDemand(keccak(b"demanded"), 1, 0, bytes(26), bytes(32), 100, 1)

    async def record(number: int) -> tuple[int, bool]:
        new = await answers.record(sender, [Wanted(demand, number, b"call")])
        before = Sent([State.CONFIRMED] * (number - 1))
        return len(new), await accusations.record(purpose, before, sender, b"call")

    assert await record(1) == (1, True)
    assert await record(2) == (0, False)
    await pool.execute("update intent set state = 'void'")
    assert await record(2) == (1, True)


async def test_what_came_to_nothing_too_often_says_so_while_it_is_wanted(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an alert, which is a metric and a line of the log, and in `corechain tx list`."""
    pool, sender = queue.lane.pool, queue.submitter.signer.address
    store, alerts, purpose = ChallengerStore(pool), ChallengerAlerts(Metrics()), "expire:aa"
    for number in range(1, MOST_TRIES + 1):
        assert await store.record(purpose, Sent([State.VOID] * (number - 1)), sender, b"")
        await pool.execute("update intent set state = 'void', ended_because = 'it reverts'")
    wanting, sent = Wanting(store, alerts, asyncio.Event()), Sent([State.VOID] * MOST_TRIES)
    for _ in range(2):
        await wanting.want(purpose, {purpose: sent}, sender, b"")
        wanting.look()
        (said,) = alerts.sentences()
        assert f"expire:aa: {MOST_TRIES} transactions came to nothing" in said
    last = await queue.book.find(f"{purpose}:{MOST_TRIES}")
    assert last.reason.startswith(f"given up: {MOST_TRIES} transactions")
    monkeypatch.setattr(wanting_of, "WANTED_S", -1.0)
    wanting.look()
    assert alerts.sentences() == []
