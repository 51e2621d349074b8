"""A veto names an epoch, and means a root: it must not hit another one that a reorg brought.

given a wrong root whose block is not final
  its veto waits as long as finality comes within the window with as much again to spare
given a veto that is signed, or wanted
  when a reorg has put another root under its epoch
    nothing is signed, what is signed is withdrawn, and it is void
given two nodes' words
  what is no root is an outage
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from support.processes import PATIENCE_S

from corechain.devnet.settings import ADMIN_KEY
from corechain.service.errors import NodeUnavailable
from corechain.service.rpc import Rpc
from corechain_relayer.challenger.calls import DisputesCalls
from corechain_relayer.challenger.roots import veto_call
from corechain_relayer.challenger.sending import StillTaken
from corechain_relayer.challenger.waiting import (
    PendingRoots,
    Root,
    StillMeant,
    root_of,
    veto_purpose,
    waits_for_finality,
)
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.plan import Attempt, Fees, Intent, State
from corechain_relayer.submitter.service import Submitter
from corechain_relayer.submitter.settled import one_by_one
from corechain_relayer.submitter.signer import Signer
from relayer.challenging import propose, seconds_by_block
from relayer.lane import Lane
from relayer.support import Chain

WRONG, RIGHT = b"\1" * 26, b"\2" * 26
KEY = f"{veto_purpose(1, WRONG)}:1"


@pytest.mark.parametrize(
    ("left_s", "lag_s", "is_final", "waits"),
    [
        (86_400, 900, False, True),
        (86_400, 900, True, False),
        (1_801, 900, False, True),
        (1_800, 900, False, False),
        (86_400, 50_000, False, False),  # finality stands still
        (2, 64, False, False),
    ],
)
def test_a_veto_waits_for_finality_only_while_that_is_sure_to_come_in_time(
    left_s: int, lag_s: int, is_final: bool, waits: bool
) -> None:
    assert waits_for_finality(left_s, lag_s, is_final) is waits


def test_the_journals_key_has_the_root_that_is_meant() -> None:
    assert root_of(KEY) == (1, WRONG)


@asynccontextmanager
async def vetoes(lane: Lane) -> AsyncIterator[Lane]:
    """The lane's submitter, as the guardian's."""
    signer = Signer.of(ADMIN_KEY, lane.chain.deployment.chain_id)
    calls = DisputesCalls(lane.rpc, lane.chain.deployment, signer.address)
    roots, old = PendingRoots(calls), lane.submitter
    lane.journal = IntentJournal(lane.journal.connection, "vetoes")
    settled = one_by_one(StillMeant(StillTaken(calls), roots))
    lane.submitter = Submitter(
        lane.journal, old.node, signer, settled, old.policy, old.metrics, grounds=roots.replaced
    )
    with seconds_by_block(lane.chain):
        yield lane


async def want(lane: Lane) -> None:
    await lane.journal.want(KEY, lane.chain.deployment.address("CoreToken"), veto_call(1))


async def pending_root(lane: Lane) -> tuple[int, bytes]:
    calls = DisputesCalls(lane.rpc, lane.chain.deployment, bytes(20))
    return await PendingRoots(calls).now()


@pytest.mark.parametrize("signed", [False, True])
async def test_a_veto_does_not_hit_the_root_that_a_reorg_put_in_the_place_of_the_wrong_one(
    lane: Lane, signed: bool
) -> None:
    chain = lane.chain
    async with vetoes(lane):
        propose(chain, WRONG)
        await want(lane)
        chain.rpc("evm_setAutomine", False)
        if signed:
            await lane.submitter.step()
            assert await lane.state(KEY) == "pending"
        chain.reorg(1)
        chain.rpc("anvil_dropAllTransactions")
        chain.rpc("evm_setAutomine", True)
        propose(chain, RIGHT)

        async def is_void() -> bool:
            return await lane.state(KEY) == "void"

        await lane.until(is_void)
        assert await pending_root(lane) == (1, RIGHT)


async def test_a_veto_of_the_root_that_waits_is_sent(lane: Lane) -> None:
    async with vetoes(lane):
        propose(lane.chain, WRONG)
        assert await pending_root(lane) == (1, WRONG)
        await want(lane)
        await lane.until_confirmed(KEY)
        assert await pending_root(lane) == (0, bytes(26))


@pytest.mark.parametrize(
    ("key", "waits", "is_right", "is_weak"),
    [
        (KEY, (1, WRONG), False, False),
        (KEY, (1, WRONG), True, True),  # a reorg has put other data under it
        (KEY, (1, RIGHT), False, True),
        ("nothing:vetoes:7", (1, RIGHT), False, False),  # it only spends a nonce
    ],
)
async def test_a_veto_rests_on_its_root_and_on_that_being_wrong(
    monkeypatch: pytest.MonkeyPatch, key: str, waits: Root, is_right: bool, is_weak: bool
) -> None:
    async def now(roots: PendingRoots) -> Root:
        return waits

    monkeypatch.setattr(PendingRoots, "now", now)
    roots = PendingRoots(cast(Any, None), lambda root: is_right)
    intent = Intent(1, key, b"", b"", State.PENDING, 0)
    assert bool(await roots.replaced([intent])) == is_weak


async def test_one_that_takes_the_place_of_another_has_its_very_bytes(lane: Lane) -> None:
    """Its call names an epoch alone: with the nonce and the fees of the one that is void it is that
    very transaction, and would have none of its own."""
    journal, sender = lane.journal, lane.submitter.signer.address
    attempt = Attempt(b"\1" * 32, 0, b"raw", Fees(2, 1), 0.0)
    for root in (WRONG, RIGHT):
        key = f"{veto_purpose(1, root)}:1"
        (intent,) = [Intent(0, key, bytes(20), veto_call(1))]
        await journal.record_new(intent, sender, attempt)
        (found,) = await journal.open_intents(False, ())
        assert (found.key, found.hashes) == (key, (attempt.hash,))
        await journal.void(found, "its root went")


async def test_what_is_no_root_is_an_outage(chain: Chain, monkeypatch: Any) -> None:
    rpc = Rpc(chain.url, PATIENCE_S)

    async def short(to: bytes, data: bytes) -> bytes:
        return bytes(31)

    monkeypatch.setattr(rpc, "eth_call", short)
    calls = DisputesCalls(rpc, chain.deployment, bytes(20))
    with pytest.raises(NodeUnavailable, match="31 bytes"):
        await PendingRoots(calls).now()
    await rpc.close()
