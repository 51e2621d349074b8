"""How a submitter sends on each kind of chain, and what it may spend there.

given a chain id
  the chain's rules fill in what the operator has not set, and nothing else
given Ethereum or anvil
  several nonces are given out at a time, and what waits is replaced
given Arbitrum, which has no mempool
  a nonce is given out once all before it were taken, one at a time
  what waits is sent again and never replaced; what was refused as too cheap, or as its gas does
    not do by now, is signed anew
given Polygon
  the tip is what its nodes demand at least; reorgs of 500 blocks take nothing final
given an OP stack
  what a transaction pays to L1 counts in receipts and in what is at stake
given a budget of a day
  nothing is signed that could exceed it, sending goes on, and operators are told
"""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.node import odd_node

from corechain.rpc_errors import ANEW, RpcFailure
from corechain.service.errors import NodeUnavailable
from corechain.service.rpc import Rpc
from corechain_relayer.chain_settings import on_chain
from corechain_relayer.settings import Settings, load_settings
from corechain_relayer.submitter.budget import BUDGET_REACHED, Purse, Spending
from corechain_relayer.submitter.chains import GWEI, RULES, chain_name
from corechain_relayer.submitter.decide import Look, decide
from corechain_relayer.submitter.memory import Memory, Refused, learn
from corechain_relayer.submitter.node import Node, parse_receipt
from corechain_relayer.submitter.plan import Action, Fees, Intent, Policy, Send, Sign, State
from corechain_relayer.submitter.signer import Signer
from corechain_relayer.wiring import policy_of
from relayer.lane import Lane
from relayer.plans import TX, look, pending, queued
from relayer.test_settings import GOOD

CHAINS = {"anvil": 31_337, "ethereum": 1, "arbitrum": 42_161, "polygon": 137, "optimism": 8_453}
SIGNER = Signer.of("11" * 32, 1)
GAS = 100_000


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def policy_on(settings: Settings, chain: str, **changes: object) -> Policy:
    found = policy_of(on_chain(settings, CHAINS[chain]))
    return replace(found, bump_after_s=20.0, resend_after_s=5.0, **changes)  # type: ignore[arg-type]


def actions_of(
    policy: Policy, intents: list[Intent], now: float = 4.0, memory: Memory | None = None
) -> list[Action]:
    seen = Look(intents, look(), [4, 5, 6, 7], policy)
    return decide(memory or Memory(), seen, now)[1]


def unsent(intent: Intent) -> Intent:
    return replace(intent, attempts=(replace(intent.attempts[-1], sent_at=None),))


def signed(intent: Intent, max_fee: int = 10, sent_at: float | None = 0.0) -> Intent:
    """Pending, with a transaction of real bytes."""
    attempt = SIGNER.sign(intent, 3, Fees(max_fee, 1), GAS, 0.0)
    attempts = (replace(attempt, sent_at=sent_at),)
    return replace(intent, state=State.PENDING, nonce=3, attempts=attempts)


# ------------------------------------------------------------------ which rules


@pytest.mark.parametrize(("name", "chain_id"), CHAINS.items())
def test_a_chain_has_its_rules_by_its_id(settings: Settings, name: str, chain_id: int) -> None:
    found = on_chain(settings, chain_id)
    assert found.chain_rules == name == chain_name(chain_id)
    assert found.confirmations == found.rules.confirmations
    assert found.min_priority_fee == found.rules.min_priority_fee
    assert policy_of(found).in_flight == found.rules.nonces_in_flight


def test_a_chain_that_nobody_knows_is_taken_for_ethereum(settings: Settings) -> None:
    assert on_chain(settings, 123_456_789).rules == RULES["ethereum"] == settings.rules


def test_what_an_operator_sets_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"RELAYER_CONFIRMATIONS": "64", "RELAYER_MIN_PRIORITY_FEE": "7"}
    for name, value in (GOOD | own).items():
        monkeypatch.setenv(name, value)
    found = on_chain(load_settings(), CHAINS["polygon"])
    assert (found.confirmations, found.min_priority_fee) == (64, 7)
    monkeypatch.setenv("RELAYER_CHAIN_RULES", "arbitrum")
    assert on_chain(load_settings(), CHAINS["polygon"]).rules == RULES["arbitrum"]


# ------------------------------------------------------------------ each chain


@pytest.mark.parametrize("chain", ["anvil", "ethereum", "polygon", "optimism"])
def test_with_a_mempool_several_are_signed_at_a_time_and_replaced_in_time(
    settings: Settings, chain: str
) -> None:
    policy = policy_on(settings, chain)
    first, *rest = actions_of(policy, [unsent(pending()), queued(2), queued(3), queued(4)])
    assert isinstance(first, Send)
    assert [action.nonce for action in rest if isinstance(action, Sign)] == [4, 5, 6]
    (late,) = actions_of(policy, [pending()], now=20.0)
    assert isinstance(late, Sign)


def test_on_arbitrum_a_nonce_is_given_once_all_before_it_were_taken(settings: Settings) -> None:
    policy = policy_on(settings, "arbitrum")
    begun = actions_of(policy, [queued(1), queued(2), queued(3)])
    assert [a.nonce for a in begun if isinstance(a, Sign)] == [4]
    waiting = actions_of(policy, [unsent(pending()), queued(2)])
    assert [type(action) for action in waiting] == [Send]
    taken = actions_of(policy, [pending(), queued(2), queued(3)])
    assert [a.intent.id for a in taken if isinstance(a, Sign)] == [2]


def test_on_arbitrum_what_waits_goes_again_as_it_is(settings: Settings) -> None:
    policy = policy_on(settings, "arbitrum")
    waits = pending()
    assert actions_of(policy, [waits], now=4.0) == []
    assert actions_of(policy, [waits], now=1_000.0) == [Send(waits, waits.attempts[0])]
    again = replace(waits.attempts[0], sent_at=998.0)
    assert actions_of(policy, [pending(attempts=(again,))], now=1_000.0) == []


@pytest.mark.parametrize("was_sent", [False, True])
@pytest.mark.parametrize("failure", ANEW)
def test_on_arbitrum_what_was_refused_as_too_cheap_is_signed_anew(
    settings: Settings, failure: RpcFailure, was_sent: bool
) -> None:
    policy = policy_on(settings, "arbitrum")
    memory = learn(Memory(), Refused(1, TX, failure, "no", was_sent), 1.0)
    (action,) = actions_of(policy, [pending()], now=50.0, memory=memory)
    assert isinstance(action, Sign)


@pytest.mark.parametrize(("says", "tip"), [(0, 30), (25, 30), (80, 80)])
async def test_on_polygon_the_tip_is_what_its_nodes_demand(
    settings: Settings, says: int, tip: int
) -> None:
    found = on_chain(settings, CHAINS["polygon"])
    block = {"number": "0x7", "baseFeePerGas": hex(100 * GWEI), "timestamp": "0x1"}
    block |= {"hash": "0x" + "11" * 32, "parentHash": "0x" + "22" * 32}
    answers = {
        "eth_getBlockByNumber": block,
        "eth_getTransactionCount": "0x3",
        "eth_maxPriorityFeePerGas": hex(says * GWEI),
        "eth_chainId": hex(137),
    }
    async with odd_node(lambda request: answered(request, answers)) as odd:
        rpc = Rpc(odd.url, 5.0)
        node = Node(rpc, found.confirmations, found.max_fee_per_gas, found.min_priority_fee)
        seen = await node.look(bytes(20))
        await rpc.close()
    assert seen.suggested == Fees((200 + tip) * GWEI, tip * GWEI)


def answered(request: object, answers: dict[str, object]) -> tuple[int, bytes]:
    assert isinstance(request, list)
    said = [{"jsonrpc": "2.0", "id": c["id"], "result": answers[c["method"]]} for c in request]
    return 200, json.dumps(said).encode()


def test_on_polygon_a_reorg_of_hundreds_of_blocks_takes_nothing_final(settings: Settings) -> None:
    assert on_chain(settings, CHAINS["polygon"]).confirmations > 187  # the deepest one reported


def test_on_an_op_stack_a_receipt_has_what_was_paid_to_l1() -> None:
    raw = {
        "transactionHash": "0x" + TX.hex(),
        "blockNumber": "0x7",
        "blockHash": "0x" + "11" * 32,
        "status": "0x1",
        "gasUsed": "0x64",
        "effectiveGasPrice": "0xa",
    }
    paid, at_home = parse_receipt(raw | {"l1Fee": "0x1388"}, TX), parse_receipt(raw, TX)
    assert paid is not None
    assert at_home is not None
    assert (paid.fee, at_home.fee) == (1_000 + 5_000, 1_000)
    for odd in ({"l1Fee": "0x" + "f" * 33}, {"effectiveGasPrice": "0x" + "f" * 64}, {"l1Fee": "7"}):
        with pytest.raises(NodeUnavailable):  # the journal could not keep it
            parse_receipt(raw | odd, TX)


def test_on_an_op_stack_what_is_paid_to_l1_is_at_stake_too() -> None:
    intent = signed(queued())
    assert Spending(0, 0).at_stake(intent) == 10 * GAS
    assert Spending(0, 500).at_stake(intent) == 10 * GAS + 500
    assert Spending(0, 500).at_stake(queued()) == 0


# ------------------------------------------------------------------ the budget of a day


def spending(policy: Policy, spent: int, intents: list[Intent]) -> tuple[Memory, list[Action]]:
    seen = Look(intents, look(), [4, 5, 6], policy, spending=Spending(spent))
    return decide(Memory(), seen, 100.0)


def test_when_the_budget_is_used_up_nothing_is_signed_and_what_was_signed_goes_again() -> None:
    policy = Policy(5.0, 20.0, 3.0, 10_000, in_flight=4, budget=20 * GAS)
    under_way = signed(queued())
    memory, actions = spending(policy, 9 * GAS, [under_way, queued(2)])
    assert [type(action) for action in actions] == [Sign, Sign]  # a replacement, and the next
    assert not memory.over_budget
    memory, actions = spending(policy, 10 * GAS, [under_way, queued(2)])
    assert actions == [Send(under_way, under_way.attempts[0])]
    assert memory.over_budget


def test_a_replacement_takes_from_the_budget_only_what_it_costs_more() -> None:
    intent, purse = signed(queued()), Purse(Spending(), 3 * GAS)
    dearer = signed(queued(), max_fee=12).attempts[0]
    assert purse.pays(intent, dearer)
    assert purse.left == GAS
    assert not purse.pays(queued(2), dearer)
    assert purse.left == GAS


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 3)), max_size=8), st.integers(0, 10**7)
)
def test_what_is_signed_can_never_cost_more_than_the_budget(
    signatures: list[tuple[int, int]], budget: int
) -> None:
    intents = {number: queued(number) for number in range(4)}
    kept = Spending(0, 77)
    for max_fee, number in signatures:
        purse = Purse(kept, kept.left(budget, list(intents.values())))
        attempt = signed(intents[number], max_fee).attempts[0]
        if purse.pays(intents[number], attempt):
            attempts = (*intents[number].attempts, attempt)
            intents[number] = replace(intents[number], state=State.PENDING, attempts=attempts)
        assert sum(map(kept.at_stake, intents.values())) <= budget


async def test_a_lane_stops_at_its_budget_tells_why_and_goes_on_when_there_is_more(
    lane: Lane,
) -> None:
    problems: list[str] = []
    lane.submitter.held.report = lambda problem: problems.append(str(problem))
    await lane.want(1)
    await lane.until_confirmed("batch:1")
    spent = await lane.journal.spent_in_a_day()
    (done,) = await lane.journal.connection.fetch("select gas_used, cost from intent, attempt")
    assert spent == done["cost"] > done["gas_used"]
    await lane.journal.note_costs(())
    lane.submitter.policy = replace(lane.submitter.policy, budget=spent + 1)
    await lane.want(2)

    async def told() -> bool:
        await lane.submitter.step()
        return BUDGET_REACHED in problems[-1]

    await lane.until(told)
    assert await lane.state("batch:2") == "queued"
    lane.submitter.policy = replace(lane.submitter.policy, budget=spent)

    async def used_up() -> bool:
        return "is used up" in problems[-1]

    await lane.until(used_up)
    lane.submitter.policy = replace(lane.submitter.policy, budget=10**21)
    await lane.until_confirmed("batch:2")
    assert await lane.journal.spent_in_a_day() > spent


async def test_a_receipt_that_is_seen_again_costs_nothing_more(lane: Lane) -> None:
    await lane.want(1)
    await lane.until_confirmed("batch:1")
    spent = await lane.journal.spent_in_a_day()
    lane.chain.reorg(1)
    lane.restart(resend_after_s=0.05)
    await lane.until_confirmed("batch:1")
    assert await lane.journal.spent_in_a_day() == spent > 0
