"""Many stale closes at a time, reorgs, lost transactions, and several towers.

given stale closes of many channels in one block
  they are answered by a few calls each, as many at a time as the window takes
  the most urgent come first: the nearest deadline, then the most at stake
  a process that dies between any two sends sends the same bytes again
given an answer that is on its way, or in a block
  when a reorg takes it, or moves the challenge, or the pool loses it
    the answer lands again
  when another tower's answer is in the pool
    ours is not sent, unless half of the period is over
  when another answer is in a block
    ours is void, and wanted again when a reorg takes the other
given a party that is a contract
  its code is asked whether it signed, and its states are answered with as well
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from support.chain import mined_later

from corechain.protocol.channel import state_domain
from corechain.protocol.errors import InvalidSignature
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import DeviceIdentity, KeyType
from corechain.protocol.reading import DeviceId
from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import State
from corechain_relayer.watchtower.channels import Channel, respond_call
from corechain_relayer.watchtower.consent import require_consent
from relayer.channels import DEPOSIT, OpenChannel, challenge_all, open_channels, versions
from relayer.support import SUBMITTER_KEY, Chain, secp
from relayer.towers import TowerStand, open_tower

NUMBER, WINDOW, HELD = 20, 8, 7
HOUR_S = 3600


@pytest.fixture
async def stand(chain: Chain, database: str) -> AsyncIterator[TowerStand]:
    async with open_tower(chain, database) as found:
        found.policy = replace(found.policy, in_flight=WINDOW)
        yield found


@pytest.fixture
def channels(chain: Chain) -> list[OpenChannel]:
    return open_channels(chain, NUMBER)


async def counts(stand: TowerStand) -> dict[State, int]:
    """Intents that are not final or void, by state."""
    rows = await stand.pool.fetch(
        "select state, count(*) as number from intent where state <> 'void' group by state"
    )
    return {State(row["state"]): row["number"] for row in rows}


async def test_stale_closes_of_one_block_are_answered_in_windows_and_few_calls(
    stand: TowerStand, channels: list[OpenChannel]
) -> None:
    await stand.hold(channels)
    challenge_all(stand.chain, channels)
    stand.rpc.asked.clear()
    await stand.until_answered(channels)
    assert stand.sent() == NUMBER
    asked = stand.rpc.asked
    # The pool, the contract, and the estimate once an answer; receipts until they are there.
    assert asked["eth_call"] == 2 * NUMBER
    assert asked["eth_estimateGas"] == asked["eth_sendRawTransaction"] == NUMBER
    await stand.until(lambda: none_open(stand))
    stand.rpc.asked.clear()
    await stand.turn()
    assert stand.rpc.asked["eth_call"] == 0


def undone(chain: Chain, blocks: int = 1) -> None:
    """The newest blocks did not happen, and no pool has what was in them."""
    chain.rpc("evm_setAutomine", False)
    chain.reorg(blocks)
    chain.rpc("anvil_dropAllTransactions")
    chain.rpc("evm_setAutomine", True)


async def none_open(stand: TowerStand) -> bool:
    found = await counts(stand)
    return not found.keys() & {State.QUEUED, State.PENDING}


async def test_the_most_urgent_come_first(stand: TowerStand, chain: Chain) -> None:
    late, soon = open_channels(chain, 3), OpenChannel(chain, secp(13), secp(14), 900).open()
    held = [soon.signed(HELD, DEPOSIT), *(c.signed(HELD, 100 * n) for n, c in enumerate(late))]
    for evidence in held:
        await stand.tower.store.keep(evidence)
    challenge_all(chain, late)
    soon.challenge(soon.signed(1, DEPOSIT))
    await stand.look()
    stand.policy = replace(stand.policy, in_flight=2)
    chain.rpc("evm_setAutomine", False)
    await stand.step()
    calls = [tx["input"][2:] for tx in stand.in_pool().values()]
    chain.rpc("evm_setAutomine", True)
    # The one with the nearest deadline, then the one with the most at stake.
    expected = [(soon, held[0]), (late[0], held[1])]
    assert calls == [respond_call(c.terms, evidence).hex() for c, evidence in expected]


@pytest.mark.parametrize("sent", [0, 3, WINDOW])
async def test_a_tower_that_dies_between_two_sends_answers_each_once(
    stand: TowerStand, channels: list[OpenChannel], sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Node.send

    async def send_some(node: Node, transactions: list[bytes]) -> list[NodeRefused | None]:
        if sent:
            await send(node, transactions[:sent])
        raise NodeUnavailable("killed")

    few = channels[: WINDOW + 2]
    await stand.hold(few)
    challenge_all(stand.chain, few)
    with monkeypatch.context() as patch:
        patch.setattr(Node, "send", send_some)
        with pytest.raises(NodeUnavailable):
            await stand.turn()
    stand.restart()
    await stand.until_answered(few)
    assert stand.sent() == len(few)


async def test_an_answer_that_a_reorg_or_the_pool_lost_lands_again(
    stand: TowerStand, channels: list[OpenChannel]
) -> None:
    few, chain = channels[:3], stand.chain
    await stand.hold(few)
    challenge_all(chain, few)
    await stand.until_answered(few)
    await stand.until(lambda: none_open(stand))
    undone(chain)
    assert set(versions(chain, few)) != {HELD}
    stand.policy = replace(stand.policy, resend_after_s=0.1)
    await stand.until_answered(few)


async def test_a_challenge_that_a_reorg_moved_is_answered(
    stand: TowerStand, channels: list[OpenChannel]
) -> None:
    few, chain = channels[:2], stand.chain
    await stand.hold(few)
    challenge_all(chain, few)
    await stand.look()
    undone(chain, 2)  # the one with the challenges, and an empty one after it
    await stand.until(lambda: none_open(stand))
    assert (await counts(stand), stand.sent()) == ({}, 0)
    chain.rpc("evm_increaseTime", 100)
    challenge_all(chain, few)
    await stand.until_answered(few)
    assert stand.sent() == len(few)


async def test_what_somebody_else_answered_is_void_and_wanted_again_after_a_reorg(
    stand: TowerStand, channels: list[OpenChannel]
) -> None:
    channel, chain = channels[0], stand.chain
    await stand.hold([channel])
    challenge_all(chain, [channel])
    await stand.look()
    chain.send("StateChannels", respond_call(channel.terms, channel.signed(HELD, 0)))
    await stand.until(lambda: none_open(stand))
    assert (await counts(stand), stand.sent()) == ({}, 0)
    undone(chain)
    await stand.until_answered([channel])
    assert stand.sent() == 1


async def test_a_second_tower_sends_nothing_while_the_first_ones_answers_wait(
    stand: TowerStand, channels: list[OpenChannel], empty_database: str, chain: Chain
) -> None:
    few = channels[:3]
    async with open_tower(chain, empty_database, SUBMITTER_KEY) as other:
        for tower in (stand, other):
            await tower.hold(few)
        challenge_all(chain, few)
        with mined_later(chain.url):
            await stand.until(lambda: len(stand.in_pool()) == len(few))
            for _ in range(3):
                await other.turn()
            assert other.in_pool() == {}
            # What lies in a pool may never land: in the second half nobody is waited for.
            chain.rpc("anvil_dropAllTransactions")
            chain.rpc("evm_increaseTime", HOUR_S * 6 // 10)
            chain.rpc("evm_mine")
            await other.until(lambda: len(other.in_pool()) == len(few))
        stand.policy = replace(stand.policy, bump_after_s=0.1)
        assert set(versions(chain, few)) == {HELD}
        # What the first one has signed is void: no nonce is spent on it, nothing is signed again.
        await stand.until(lambda: none_open(stand))
        assert await stand.pool.fetchval("select count(*) from attempt") == len(few)
        assert (await counts(stand), stand.sent()) == ({}, 0)


async def test_towers_of_a_fleet_divide_the_channels_among_them(
    stand: TowerStand, channels: list[OpenChannel]
) -> None:
    """One that answers at once, and one whose turn would come later, for every channel."""
    await stand.hold(channels)
    challenge_all(stand.chain, channels)
    stand.tower.fleet.stagger_s = float(HOUR_S)
    await stand.look()
    assert await counts(stand) == {}
    stand.chain.rpc("evm_increaseTime", HOUR_S * 6 // 10)
    stand.chain.rpc("evm_mine")
    await stand.look()
    assert await counts(stand) == {State.QUEUED: NUMBER}


# Agrees to each signature of 70 bytes: calldataload(0x44) == 70, times 0x1626ba7e, at the left.
AGREES_TO_70_BYTES = "0x604435604614631626ba7e0260e01b60005260206000f3"
REVERTS, LOOPS_FOR_EVER = "0x60006000fd", "0x5b600056"


@dataclass(frozen=True)
class ContractAccount:
    """A party whose signatures only its code can judge (ERC-1271)."""

    identity: DeviceIdentity
    size: int = 70

    def sign(self, digest: bytes) -> bytes:
        return (digest * 3)[: self.size]


def with_contract(chain: Chain, code: str = AGREES_TO_70_BYTES, size: int = 70) -> OpenChannel:
    """A channel of which one party is a contract; not open yet."""
    identity = DeviceIdentity(DeviceId(keccak(code.encode())[:20]), KeyType.SECP256K1)
    chain.rpc("anvil_setCode", "0x" + identity.device.hex(), code)
    return OpenChannel(chain, secp(11), ContractAccount(identity, size))


async def consents(stand: TowerStand, channel: OpenChannel) -> bool:
    domain = state_domain(channel.chain.deployment.chain_id, channel.contract)
    terms = Channel(channel.terms, DEPOSIT)
    try:
        await require_consent(stand.rpc, channel.signed(HELD, 1), terms, domain)
    except InvalidSignature:
        return False
    return True


async def test_a_stale_close_of_a_channel_with_a_contract_is_answered(
    stand: TowerStand, chain: Chain
) -> None:
    channel = with_contract(chain).open()
    assert await consents(stand, channel)
    await stand.hold([channel])
    challenge_all(chain, [channel])
    await stand.until_answered([channel])


async def test_a_contract_that_does_not_agree_is_no_party_that_signed(
    stand: TowerStand, chain: Chain
) -> None:
    for channel in (
        with_contract(chain, size=71),
        with_contract(chain, size=64),
        with_contract(chain, REVERTS),
        with_contract(chain, "0x"),
    ):
        assert not await consents(stand, channel)
    # The node's word is that it ran out of gas: no verdict on the signature.
    with pytest.raises(NodeRefused):
        await consents(stand, with_contract(chain, LOOPS_FOR_EVER))
