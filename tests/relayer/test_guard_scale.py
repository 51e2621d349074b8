"""Many demands at a time cost few questions, and each of them is answered.

given demands of one or two blocks, on more batches than the library keeps
  a round asks the contract in one request, opens each file once, records in one statement
  the submitter asks whether they are still open in one request
  all are answered, once each; after a reorg again; by a guard that comes late, as well
  while fees are a hundred times what they were they wait, and go at the urgent cap
  after a reorg of the block in which they were made, too
given an answer that an operator cancels
  it is sent again when a fourth of the window is left, and not before
given many demands for the sources of readings
  they are found in one pass, and only what is demanded is hashed
given a call that a node fails at
  it keeps no other from its answer, and a node that fails at all is soon left alone
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corechain.deployment import Deployment
from corechain.protocol.data_file import Written
from corechain.protocol.evidence import Demand, Dossier, Evidence
from corechain.protocol.hashing import keccak
from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain_relayer.guard import answers, library
from corechain_relayer.guard.answers import BatchData, answer_call, evidence_for, sources_of
from corechain_relayer.guard.chain import (
    MOST_FAILED,
    REQUEST_BYTES,
    UNTOLD,
    DisputesContract,
    parts_of,
)
from corechain_relayer.guard.demands import OpenDemand
from corechain_relayer.guard.library import KEPT
from corechain_relayer.guard.standing import OpenDemands
from corechain_relayer.guard.store import intent_key
from corechain_relayer.guard.trials import Trial
from corechain_relayer.submitter.plan import Intent
from corechain_relayer.submitter.settled import Moot
from corechain_relayer.transactions.book import Book
from relayer.demands import ANSWER_WINDOW_S, committed, sealed_batch
from relayer.guards import CALM, URGENT_CAP, GuardStand, demand_all, demand_calls, open_guard
from relayer.support import Chain, Sensor
from relayer.test_towers import undone

NUMBER, BATCHES, IN_FLIGHT = 24, KEPT + 2, 16


@pytest.fixture
def batches(chain: Chain, tmp_path: Path, sensor: Sensor) -> list[Dossier]:
    return [committed(chain, tmp_path / "data", sensor) for _ in range(BATCHES)]


@pytest.fixture
def spike(chain: Chain) -> Iterator[int]:
    """A base fee above the calm cap and below the urgent one. Anvil goes back to a snapshot without
    it: the next test would find the spike."""
    before = chain.rpc("eth_getBlockByNumber", "latest", False)["baseFeePerGas"]
    fee = 5 * CALM.max_fee
    assert CALM.max_fee < fee < URGENT_CAP
    yield fee
    chain.rpc("anvil_setNextBlockBaseFeePerGas", before)


@pytest.fixture
async def stand(
    chain: Chain, deployment: Path, database: str, tmp_path: Path
) -> AsyncIterator[GuardStand]:
    async with open_guard(chain, deployment, database, tmp_path) as found:
        found.policy = replace(found.policy, in_flight=IN_FLIGHT)
        yield found


def counted(module: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> Counter[Any]:
    """Calls of a function by its last argument; it does what it always did."""
    real, found = getattr(module, name), Counter[Any]()

    def counting(*words: Any) -> Any:
        found[words[-1]] += 1
        return real(*words)

    monkeypatch.setattr(module, name, counting)
    return found


async def test_demands_of_two_blocks_cost_a_round_few_questions_and_are_answered_once(
    stand: GuardStand, batches: list[Dossier], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = stand.guard.follower.kept
    assert kept is not None
    assert kept.store.name == "demands"  # who starts need not read the window again
    read, hashed = (
        counted(library, "read_batch", monkeypatch),
        counted(answers, "keccak", monkeypatch),
    )
    calls = demand_calls(stand.chain, batches, NUMBER)
    for half in (calls[::2], calls[1::2]):  # each half has demands of all batches
        demand_all(stand.chain, half)
        stand.chain.rpc("evm_increaseTime", 60)
    stand.rpc.posted.clear()
    stand.pool.statements = 0
    await stand.guard.round()
    assert stand.rpc.posted["eth_call"] == 1
    assert stand.pool.statements == 2  # what is recorded, and the answers
    assert set(read.values()) == {1}
    assert len(read) == BATCHES
    assert sum(hashed.values()) == NUMBER // 3  # the sources
    open_ = stand.guard.follower.view.open
    rows = await stand.pool.fetch("select key, due_at from intent where queue = 'guard'")
    assert {r["key"]: r["due_at"] for r in rows} == {
        intent_key(demand.id, 1): demand.deadline for demand in open_.values()
    }
    await are_judged_in_one_request(stand, list(open_.values()))
    await stand.until_answered()
    assert sent(stand) == NUMBER
    undone(stand.chain)
    await stand.until_answered()
    assert len(stand.guard.follower.view.closings) == NUMBER


async def are_judged_in_one_request(stand: GuardStand, open_: Sequence[OpenDemand]) -> None:
    intents = [Intent(n, intent_key(d.id, 1), b"", b"") for n, d in enumerate(open_)]
    unknown = Intent(NUMBER, intent_key(bytes(32), 1), b"", b"")
    stand.rpc.posted.clear()
    found = await OpenDemands(stand.guard.contract)([*intents, unknown])
    assert stand.rpc.posted.total() - stand.rpc.posted["eth_getBlockByNumber"] == 1
    assert found == [*[None] * len(intents), Moot("the demand is closed", at_once=True)]


def sent(stand: GuardStand) -> int:
    sender = "0x" + stand.submitter.signer.address.hex()
    return int(stand.chain.rpc("eth_getTransactionCount", sender, "latest"), 16)


async def test_a_guard_that_comes_late_when_fees_have_spiked_answers_all_at_the_urgent_cap(
    stand: GuardStand, batches: list[Dossier], spike: int
) -> None:
    demand_all(stand.chain, demand_calls(stand.chain, batches, NUMBER))
    after(stand.chain, 0, spike)
    for _ in range(2):
        await stand.turn()
    assert sent(stand) == 0
    after(stand.chain, ANSWER_WINDOW_S * 9 // 10, spike)
    await stand.restart()
    await stand.until_answered()
    assert sent(stand) == NUMBER


async def test_demands_whose_block_a_reorg_replaces_are_answered_once_each(
    stand: GuardStand, batches: list[Dossier]
) -> None:
    """The first answers wait in the pool when it happens, and are lost with it; the demands come
    again, later, under the same ids."""
    calls = demand_calls(stand.chain, batches, NUMBER)
    before = int(stand.chain.rpc("eth_blockNumber"), 16)
    demand_all(stand.chain, calls)
    await stand.guard.round()
    first = dict(stand.guard.follower.view.open)
    stand.chain.rpc("evm_setAutomine", False)
    await stand.step()
    undone(stand.chain, int(stand.chain.rpc("eth_blockNumber"), 16) - before)
    await stand.guard.round()
    assert stand.guard.follower.view.open == {}
    stand.chain.rpc("evm_increaseTime", 60)
    demand_all(stand.chain, calls)
    await stand.until_answered()
    assert set(stand.guard.follower.view.closings) == set(first)


async def test_an_answer_that_an_operator_cancels_is_sent_again_in_the_last_fourth_of_the_window(
    stand: GuardStand, batches: list[Dossier]
) -> None:
    demand_all(stand.chain, demand_calls(stand.chain, batches, 1))
    await stand.guard.round()
    (demand,) = stand.guard.follower.view.open.values()
    book = Book(stand.pool.pool)
    await book.cancel(intent_key(demand.id, 1), "it shows the wrong place")
    for _ in range(3):
        await stand.turn()
    assert sent(stand) == 0
    assert len(await stand.pool.fetch("select from intent where queue = 'guard'")) == 1
    assert any("cancelled" in said for said in stand.parts.alerts.sentences())
    stand.chain.rpc("evm_increaseTime", ANSWER_WINDOW_S * 4 // 5)
    stand.chain.rpc("evm_mine")
    await stand.until_answered()
    assert sent(stand) == 1


def after(chain: Chain, seconds: int, base_fee: int) -> None:
    """A block of then, with this base fee."""
    chain.rpc("evm_increaseTime", seconds)
    chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(base_fee))
    chain.rpc("evm_mine")


# ---------------------------------------------------------------------------- sources


def test_the_sources_of_many_readings_are_found_in_one_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = BatchData.of(Written.of(sealed_batch(devices=3, reports=4)))
    leaves = data.dossier.leaves
    subjects = [keccak(leaf) for leaf in leaves] + [b"\xff" * 32]
    lane = (3 << 32) + 1
    demands = [OpenDemand(s, lane, Demand.SOURCE, bytes(26), s, 0, 0) for s in subjects]
    hashed = counted(answers, "keccak", monkeypatch)
    together = sources_of(demands, data.dossier)
    assert sum(hashed.values()) == len(leaves)
    assert together == {k: v for d in demands for k, v in sources_of([d], data.dossier).items()}
    assert isinstance(together[subjects[-1]], str)
    for position, demand in enumerate(demands[:-1]):
        report, reading = evidence_for(demand, data, together).shown
        assert reading.position == position
        assert report.content[:20] == leaves[position][10:30]


# --------------------------------------------------------------------- a failing node


WORDS = {
    "0x00": NodeRefused("eth_call", -32005, "request limit reached"),
    "0x02": NodeRefused("eth_call", 3, "execution reverted"),
}
"""What a node says to some calls."""


class FailingRpc:
    """A node that fails at requests with some calls, and refuses others."""

    def __init__(self, *fails: bytes) -> None:
        self.fails, self.requests = {"0x" + call.hex() for call in fails}, 0

    async def call_all(self, calls: Sequence[Any]) -> list[Any]:
        self.requests += 1
        asked = [call.params[0]["data"] for call in calls]
        if self.fails & set(asked):
            raise NodeUnavailable("the gateway timed out")
        return [WORDS.get(data, "0x") for data in asked]


def contract_at(rpc: Any) -> DisputesContract:
    addresses: Any = type("Addresses", (), {"address": lambda self, name: bytes(20)})()
    deployment: Deployment = addresses
    return DisputesContract(rpc, deployment, bytes(20))


@settings(max_examples=10)
@given(st.integers(1, 250), st.data())
async def test_a_call_that_a_node_fails_at_keeps_no_other_from_its_answer(
    number: int, data: st.DataObject
) -> None:
    calls = [b"call %d" % n for n in range(number)]
    bad = data.draw(st.integers(0, number - 1))
    said = await contract_at(FailingRpc(calls[bad])).try_answers(calls)
    assert isinstance(said[bad], NodeUnavailable)
    assert said[:bad] + said[bad + 1 :] == [""] * (number - 1)


async def test_a_node_that_fails_at_all_is_soon_left_alone() -> None:
    calls = [b"call %d" % n for n in range(1000)]
    rpc = FailingRpc(*calls)
    said = await contract_at(rpc).try_answers(calls)
    assert len(said) == len(calls)
    assert all(isinstance(answer, NodeUnavailable) for answer in said)
    assert rpc.requests == MOST_FAILED


async def test_a_call_that_the_node_refuses_is_refused_alone() -> None:
    said = await contract_at(FailingRpc()).try_answers([b"\0", b"\1", b"\2"])
    assert isinstance(said[0], NodeRefused)
    assert said[1:] == ["", UNTOLD]


async def test_what_the_contract_refuses_without_a_reason_is_tried_otherwise() -> None:
    """Nodes may keep revert data to themselves: the next evidence may be taken all the same."""

    async def candidates() -> AsyncIterator[Evidence]:
        yield Evidence(extra=b"1")
        yield Evidence(extra=b"2")

    demand = OpenDemand(bytes(32), 1, Demand.REGISTRATION, bytes(26), bytes(32), 9, 5)
    trial = Trial(demand, candidates())
    for said in (UNTOLD, ""):
        await trial.advance()
        trial.judge(said)
    assert trial.outcome is not None
    assert trial.outcome.call == answer_call(demand, Evidence(extra=b"2"))


SIZES = st.sampled_from([0, 1, REQUEST_BYTES // 3, REQUEST_BYTES, REQUEST_BYTES + 1])


@settings(max_examples=20)
@given(st.lists(SIZES, max_size=8), st.integers(0, 300))
def test_a_request_is_of_a_size_that_nodes_take(sizes: list[int], short: int) -> None:
    calls = [bytes(size) for size in sizes] + [b"short"] * short
    parts = parts_of(calls)
    assert [call for part in parts for call in part] == calls
    for part in parts:
        assert 1 <= len(part) <= 100
        assert len(part) == 1 or sum(map(len, part)) <= REQUEST_BYTES
