"""A lane goes to another key as the contract allows it, and loses nothing.

given any lane, key and time
  the next step follows from what is there, and a closed lane's bond is free or waited for
given a running lane
  while its bond answers for receipts it is closed only when that is wanted
  it is paused and drained before it is closed, waited for, and the new key commits what was left,
    whatever one of three nodes says
given no admin's key, or no address
  the command says so
"""

from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import pytest
from support.liar import liar_of_three
from typer.testing import CliRunner

from corechain.account import account_from_key
from corechain.chain import Chain as Contracts
from corechain.devnet.settings import ADMIN_KEY
from corechain.service.agreed_chain import chain_of
from corechain.service.node_settings import NodeSettings
from corechain.service.settings import load
from corechain_relayer.commands import commands
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.service import Submitter
from corechain_relayer.submitter.settled import LaneKey
from corechain_relayer.submitter.signer import Signer
from corechain_relayer.transactions.book import Book
from corechain_relayer.transactions.rotation import LaneState, Rotation, Step, next_step
from relayer.lane import Lane
from relayer.support import SUBMITTER_KEY, WATCHTOWER_KEY

OLD, NEW, NOBODY = b"\1" * 20, b"\2" * 20, bytes(20)
FINALITY = 64
BONDED = LaneState(OLD, OLD, 5, 0, 0)
CLOSED = LaneState(NOBODY, OLD, 5, 100, 0)
VACANT = LaneState(NOBODY, OLD, 0, 0, 0)

CASES = [
    (BONDED, 1, 0, Step.DRAIN),
    (BONDED, 0, 0, Step.CLOSE),
    (CLOSED, 0, 99, Step.WAIT),
    (CLOSED, 0, 100, Step.WITHDRAW),
    (replace(CLOSED, open_demands=1), 0, 100, Step.WAIT),
    (VACANT, 0, 0, Step.ASSIGN),
    (replace(VACANT, assignee=NEW), 0, 1, Step.BOND),
    (replace(VACANT, assignee=NEW, vacated_at=7), 0, 7, Step.WAIT),
    (replace(BONDED, submitter=NEW, assignee=NEW), 3, 0, Step.DONE),
]


@pytest.mark.parametrize(("state", "in_flight", "now", "step"), CASES)
def test_the_next_step_follows_from_what_is_there(
    state: LaneState, in_flight: int, now: int, step: Step
) -> None:
    assert next_step(state, NEW, in_flight, now) is step


async def test_a_lane_goes_to_another_key_and_what_was_left_is_committed_by_it(lane: Lane) -> None:
    chain, new = lane.chain, Signer.of(WATCHTOWER_KEY, lane.chain.deployment.chain_id)
    with liar_of_three(chain.url) as urls:
        settings = load(NodeSettings, {"RPC_URL": urls})
        with closing(chain_of(settings, chain.deployment)) as contracts:
            await _rotated(lane, contracts, new)
    old = lane.submitter
    key = LaneKey(old.node, chain.deployment, 0, new.address)
    lane.submitter = Submitter(
        old.journal, old.node, new, old.settled, old.policy, Metrics(), entitled=key
    )
    await lane.until_confirmed("batch:3")
    assert list(chain.commitments()) == [1, 2, 3]


async def _rotated(lane: Lane, contracts: Contracts, new: Signer) -> None:
    chain, admin = lane.chain, account_from_key(ADMIN_KEY)
    parts = (contracts, admin, Book(lane.pool), 0, new.address)

    async def run(*, pays: bool = False, releases: bool = False) -> dict[str, Any]:
        return await Rotation(*parts, pays, releases).run()

    await lane.want(1)
    await lane.until_confirmed("batch:1")
    draining = await run()
    assert (draining["done"], "not final" in draining["waits_for"]) == ([], True)
    await lane.want(2)
    await lane.submitter.step()
    assert await lane.state("batch:2") == "queued"  # the lane is paused

    lane.mine(FINALITY + 1)
    await lane.until(lambda: _is_final(lane))
    signer = bytes(19) + b"\7"
    submitter = account_from_key(SUBMITTER_KEY)
    contracts.name_receipt_signer(submitter, 0, signer)
    warned = await run()
    assert (warned["done"], signer.hex() in warned["waits_for"]) == ([], True)
    book = Late(lane.pool, lane)
    late = await Rotation(contracts, admin, book, 0, new.address, False, True).run()
    assert (late["done"], "not final" in late["waits_for"]) == ([], True)
    lane.mine(FINALITY + 1)
    await lane.until(lambda: _is_final(lane, "batch:2"))
    await lane.want(3)
    closed = await run(releases=True)
    assert (closed["done"], "the bond to be free" in closed["waits_for"]) == (["closeLane"], True)
    assert (await run())["done"] == []
    chain.rpc("evm_increaseTime", contracts.call("DataBatches", "challengeWindow") + 2)
    lane.mine(1)
    assigned = await run()
    assert assigned["done"] == ["withdrawBond", "assignLane"]
    assert assigned["waits_for"] is not None
    chain.rpc("evm_increaseTime", 2)
    lane.mine(1)
    assert "--bond" in (await run())["waits_for"]
    assert await run(pays=True) == {"lane": 0, "done": ["bondLane"], "waits_for": None}
    assert await run() == {"lane": 0, "done": [], "waits_for": None}
    address = "0x" + new.address.hex()
    before = chain.rpc("eth_getBalance", address, "latest")
    chain.rpc("anvil_setBalance", address, "0x0")
    assert (await run())["note"] == f"{address} has no coin for gas"
    chain.rpc("anvil_setBalance", address, before)


@dataclass(frozen=True)
class Late(Book):
    """A journal in which the submitter signs once more before it is paused."""

    lane: Lane

    async def pause(self, queue: str, reason: str) -> dict[str, Any]:
        await self.resume(queue)
        await self.lane.until_confirmed("batch:2")
        return await super().pause(queue, reason)


async def _is_final(lane: Lane, key: str = "batch:1") -> bool:
    return await lane.state(key) == "final"


def test_the_command_says_what_it_lacks(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    words = ["rotate-key", "--lane", "0", "--to", "0x" + "0a" * 20]
    done = CliRunner().invoke(commands, words)
    assert (done.exit_code, "RELAYER_ADMIN_KEY is not set" in done.output) == (2, True)
    monkeypatch.setenv("RELAYER_ADMIN_KEY", ADMIN_KEY)
    wrong = CliRunner().invoke(commands, [*words[:-1], "0x00"])
    assert (wrong.exit_code, "takes 20 bytes" in wrong.output) == (2, True)
    submitter = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    mistyped = CliRunner().invoke(commands, [*words[:-1], submitter.replace("9C8", "8C8")])
    assert (mistyped.exit_code, "no checksum" in mistyped.output) == (2, True)
    nobody = CliRunner().invoke(commands, [*words[:-1], "0x" + 40 * "0"])
    assert (nobody.exit_code, "not that of nobody" in nobody.output) == (2, True)
    slip = CliRunner().invoke(commands, [*words[:1], "--lane", "9", "--to", submitter])
    assert (slip.exit_code, "lane 9: nobody ever had it" in slip.output) == (1, True)
    done = CliRunner().invoke(commands, [*words[:-1], submitter])
    assert (done.exit_code, '"waits_for": null' in done.output) == (0, True)
