"""What was given up must not land: a veto would hit whatever root waits by then.

given a veto that is void, and a reorg that brings its transaction back
  its nonce is spent on nothing, though there is nothing else to do
  an operator's pause does not keep it in the pool
  nothing else is signed under it, at a fee that would not do
given any other queue, or another call under that nonce
  nothing is spent
"""

import time
from dataclasses import replace

from corechain_relayer.journal.sql import query
from corechain_relayer.submitter.decide import Look, decide
from corechain_relayer.submitter.memory import WOULD_REVERT, Memory
from corechain_relayer.submitter.plan import Attempt, Fees, Fill, Intent, Sign
from corechain_relayer.submitter.recall import STRAY_S, stray
from relayer.plans import POLICY, TX, look, queued
from relayer.queues import HOUR_S, QUEUE, Queue


async def void_in_pool(queue: Queue) -> Intent:
    """An intent that is void while its transaction is in the pool, as a reorg leaves it."""
    await queue.want()
    await queue.rounds()
    (intent,) = await queue.journal.open_intents(False, ())
    await queue.journal.void(intent, "the contract refuses it")
    queue.restart()
    return intent


async def test_the_nonce_of_a_void_veto_is_spent_on_nothing(queue: Queue) -> None:
    intent = await void_in_pool(queue)
    await queue.rounds()
    assert [pooled["input"] for pooled in queue.pool()] == ["0x" + intent.calldata.hex()]
    # Unlike what is void in another queue.
    queue.submitter.policy = replace(queue.submitter.policy, recalls=True)
    await queue.rounds()
    (pooled,) = queue.pool()
    assert (int(pooled["nonce"], 16), pooled["input"]) == (intent.nonce, "0x")
    sender, now = queue.submitter.signer.address, time.time()
    assert await queue.journal.strays(sender, 0, now) == []


async def test_only_what_may_land_is_a_stray(queue: Queue) -> None:
    intent = await void_in_pool(queue)
    sender, journal, now = queue.submitter.signer.address, queue.journal, time.time()
    (found,) = await journal.strays(sender, 0, now)
    assert (found.key, found.hashes) == (intent.key, intent.hashes)
    assert await journal.strays(sender, 1, now) == []  # the chain counts its nonce
    assert await journal.strays(sender, 0, now) == [found]
    assert await journal.strays(sender, 0, intent.attempts[0].signed_at + STRAY_S + 1) == []
    other = replace(intent.attempts[0], hash=b"\7" * 32, raw=b"other")
    await journal.record_new(Intent(0, "other", bytes(20), b""), sender, other)
    assert await journal.strays(sender, 0, now) == []
    # A journal may keep a hundred thousand transactions, and vetoes ask in each round.
    await journal.connection.execute("set enable_seqscan = off")
    plan = await journal.connection.fetch("explain " + query("strays"), QUEUE, sender, 0, 0.0)
    assert any("attempt_given_up" in row[0] for row in plan), plan


async def test_what_an_operator_cancels_is_held_no_more(queue: Queue) -> None:
    """It ends by another process: nobody tells the submitter, and an alert would ring for ever."""
    held = queue.submitter.metrics.intents_held.labels(QUEUE, WOULD_REVERT)
    await queue.journal.want("refused", queue.chain.deployment.address("DataBatches"), b"no call")
    await queue.rounds(2)
    assert held._value.get() == 1
    await queue.book.cancel("refused", "not needed")
    queue.submitter.clock = lambda: time.time() + HOUR_S
    await queue.rounds(1)
    assert held._value.get() == 0


STRAY = stray(9, "veto:1:00:1", bytes(20), b"call", Attempt(TX, 5, b"", Fees(80, 8), 0.0))
RECALLS = replace(POLICY, recalls=True)


def test_a_stray_is_replaced_for_more_than_it_pays() -> None:
    _, actions = decide(Memory(), Look([], look(), [4, 5], RECALLS, strays=[STRAY]), 1.0)
    (fill,) = actions
    assert isinstance(fill, Fill)
    assert (fill.intent, fill.nonce) == (STRAY, 5)
    assert fill.fees.max_fee > 80
    assert fill.fees.priority_fee > 8


def test_a_pause_keeps_no_stray_in_the_pool() -> None:
    _, actions = decide(Memory(), Look([], look(), [4, 5], RECALLS, True, strays=[STRAY]), 1.0)
    assert len(actions) == 1


def test_what_is_to_be_signed_leaves_its_nonce_alone() -> None:
    """At the fee of a first attempt no node would take it in the place of a dearer one."""
    at_once = replace(RECALLS, ordered=False)
    seen = Look([queued(1)], look(), [5, 6], at_once, strays=[STRAY])
    _, actions = decide(Memory(), seen, 1.0)
    given = [(type(a), a.nonce) for a in actions if isinstance(a, Sign | Fill)]
    assert sorted(given, key=lambda one: one[1]) == [(Fill, 5), (Sign, 6)]
