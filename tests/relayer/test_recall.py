"""What was given up must not land: a veto would hit whatever root waits by then.

given a veto that is void, and a reorg that brings its transaction back
  its nonce is spent on nothing, though there is nothing else to do
  an operator's pause does not keep it in the pool
given any other queue, or another call under that nonce
  nothing is spent
"""

from dataclasses import replace

from corechain_relayer.submitter.decide import Look, decide
from corechain_relayer.submitter.memory import Memory
from corechain_relayer.submitter.plan import Attempt, Fees, Fill, Intent, Sign
from corechain_relayer.submitter.recall import stray
from relayer.plans import POLICY, TX, look, queued
from relayer.queues import Queue


async def void_in_pool(queue: Queue, *, recalls: bool) -> Intent:
    """An intent that is void while its transaction is in the pool, as a reorg leaves it."""
    await queue.want()
    await queue.rounds()
    (intent,) = await queue.journal.open_intents(False, ())
    await queue.journal.void(intent, "the contract refuses it")
    queue.restart()
    queue.submitter.policy = replace(queue.submitter.policy, recalls=recalls)
    return intent


async def test_the_nonce_of_a_void_veto_is_spent_on_nothing(queue: Queue) -> None:
    intent = await void_in_pool(queue, recalls=True)
    await queue.rounds()
    (pooled,) = queue.pool()
    assert (int(pooled["nonce"], 16), pooled["input"]) == (intent.nonce, "0x")
    sender = queue.submitter.signer.address
    assert await queue.journal.strays(sender, 0, 0.0) == []


async def test_what_is_void_in_another_queue_may_land(queue: Queue) -> None:
    intent = await void_in_pool(queue, recalls=False)
    await queue.rounds()
    assert [pooled["input"] for pooled in queue.pool()] == ["0x" + intent.calldata.hex()]


async def test_only_what_may_land_is_a_stray(queue: Queue) -> None:
    intent = await void_in_pool(queue, recalls=True)
    sender, journal = queue.submitter.signer.address, queue.journal
    (found,) = await journal.strays(sender, 0, 0.0)
    assert (found.key, found.hashes) == (intent.key, intent.hashes)
    assert await journal.strays(sender, 1, 0.0) == []  # the chain counts its nonce
    assert await journal.strays(sender, 0, intent.attempts[0].signed_at + 1) == []
    other = replace(intent.attempts[0], hash=b"\7" * 32, raw=b"other")
    await journal.record_new(Intent(0, "other", bytes(20), b""), sender, other)
    assert await journal.strays(sender, 0, 0.0) == []


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


def test_what_is_signed_under_its_nonce_takes_its_place() -> None:
    at_once = replace(RECALLS, ordered=False)
    seen = Look([queued(1)], look(), [5, 6], at_once, strays=[STRAY])
    _, actions = decide(Memory(), seen, 1.0)
    assert [
        (type(action), action.nonce) for action in actions if isinstance(action, Sign | Fill)
    ] == [(Sign, 5)]
