"""What a commit rests on, and a reorg takes away, on a real chain.

given a batch of a device whose registration was not final when it was sealed
  when a reorg takes the registration away, whichever way the device was registered
    nothing is signed for the batch, `explain` and `/ready` say why, and what comes behind waits
    what is in the pool for it is withdrawn, and never lands without the registration
  when the registration is back, in a later block
    the batch is committed, and its device was registered in time by the contract's own rule
  when the registration is final
    nothing more is asked, whatever becomes of the node
given a batch of devices that were final
  no question is asked
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from corechain.protocol.eip712 import address_word
from corechain.protocol.fleet import Fleet
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import DeviceKey, KeyType
from corechain.service.rpc import Rpc
from corechain_relayer.journal.rests import RestsStore, pack_rests, unpack_rests
from corechain_relayer.journal.sql import query
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.follower import RegistryFollower
from corechain_relayer.registry.view import RegistryView
from corechain_relayer.submitter.footing import BatchFooting
from corechain_relayer.submitter.grounds import REGISTRATION_GONE, REGISTRY_UNREAD
from corechain_relayer.transactions.book import Book
from corechain_relayer.transactions.view import View
from relayer.lane import Lane
from relayer.support import ADMIN, Chain, p256, secp

DEVICE, SECURE = secp(71), p256(72)
OWNER = bytes.fromhex(ADMIN[2:])


def by_itself(chain: Chain) -> None:
    chain.register(DEVICE)


def on_p256(chain: Chain) -> None:
    chain.register(SECURE)


def in_a_fleet(chain: Chain) -> None:
    chain.enrol(Fleet.of(OWNER, KeyType.SECP256K1, [DEVICE.identity.device]))


def with_a_key_published(chain: Chain) -> None:
    chain.enrol(Fleet.of(OWNER, KeyType.P256, [SECURE.identity.device]))
    chain.publish_keys(SECURE.identity.public_key or b"")


@dataclass
class Footed:
    """A lane whose batch 1 is of a young device."""

    lane: Lane
    registry: RegistryFollower
    device: bytes = b""

    async def sealed(self, *keys: DeviceKey) -> None:
        """Batch 1, as an aggregator keeps it now."""
        await self.registry.refresh_or_log()
        rests = self.registry.rests([key.identity.device for key in keys])
        if rests:
            fields = (1, pack_rests(rests))
            await self.lane.journal.connection.execute(query("insert_rests"), *fields)
        await self.lane.want(1)

    async def steps(self, number: int = 4) -> None:
        for _ in range(number):
            await self.lane.submitter.step()

    async def reasons(self) -> Mapping[str, str]:
        view = View.of(self.lane.pool, self.lane.rpc)
        _, said = await view.explain("batch:1")
        return dict(zip(said.reasons, said.sentences, strict=True))

    async def committed(self) -> int:
        """Waits for the block of batch 1; its time."""
        await self.lane.until_confirmed("batch:1")
        assert 1 in self.lane.chain.commitments()
        return int(self.lane.block()["timestamp"], 16)


@pytest.fixture
async def footed(lane: Lane) -> Footed:
    lane.mine(70)
    contract = lane.chain.deployment.contracts["DeviceRegistry"]
    parts = (RegistryView, 0.05, 1_000, Metrics(), 64)
    chain_id = lane.chain.deployment.chain_id
    registry = RegistryFollower(lane.rpc, contract, *parts, chain_id=chain_id)
    lane.submitter.grounds = BatchFooting(RestsStore(lane.pool), registry)
    return Footed(lane, registry)


@pytest.mark.parametrize(
    ("register", "key"),
    [
        (by_itself, DEVICE),
        (on_p256, SECURE),
        (in_a_fleet, DEVICE),
        (with_a_key_published, SECURE),
    ],
)
async def test_no_batch_is_committed_while_a_reorg_has_its_registration(
    footed: Footed, register: Callable[[Chain], None], key: DeviceKey
) -> None:
    chain = footed.lane.chain
    before = int(footed.lane.block()["number"], 16)
    register(chain)
    await footed.sealed(key)
    await footed.lane.want(2)
    chain.reorg(int(footed.lane.block()["number"], 16) - before)
    await footed.steps()
    assert chain.commitments() == {}
    assert await footed.lane.state("batch:1") == "queued"
    reasons = await footed.reasons()
    assert key.identity.device.hex() in reasons[REGISTRATION_GONE]
    assert (await Book(footed.lane.pool).health("lane:0")).wait == REGISTRATION_GONE
    register(chain)
    committed_at = await footed.committed()
    if register in (by_itself, on_p256):
        who = address_word(key.identity.device)
        words = chain.call("DeviceRegistry", keccak(b"deviceOf(address)")[:4] + who)
        assert 0 < int(words[128:192], 16) <= committed_at
    assert REGISTRATION_GONE not in await footed.reasons()


async def test_what_is_in_the_pool_without_its_registration_never_lands(footed: Footed) -> None:
    lane, chain = footed.lane, footed.lane.chain
    chain.register(DEVICE)
    await footed.sealed(DEVICE)
    chain.rpc("evm_setAutomine", False)
    await footed.steps()
    assert await lane.state("batch:1") == "pending"
    chain.reorg(1)
    await footed.steps()
    chain.rpc("evm_mine")
    await footed.steps()
    assert chain.commitments() == {}
    chain.rpc("evm_setAutomine", True)
    chain.register(DEVICE)
    await footed.steps()
    assert chain.commitments() == {}  # its nonce may come back, until what had it is final
    lane.mine(70)
    await footed.committed()


async def test_while_the_registry_cannot_be_read_a_young_batch_waits(footed: Footed) -> None:
    footed.lane.chain.register(DEVICE)
    await footed.sealed(DEVICE)
    away = Rpc("http://127.0.0.1:9", 1.0)
    ours, footed.registry._reader.rpc = footed.registry._reader.rpc, away
    await footed.steps(2)
    assert REGISTRY_UNREAD in await footed.reasons()
    assert footed.lane.chain.commitments() == {}
    footed.registry._reader.rpc = ours
    await footed.committed()
    await away.close()


async def test_what_is_final_is_asked_for_no_more(footed: Footed) -> None:
    lane = footed.lane
    lane.chain.register(DEVICE)
    await footed.sealed(DEVICE)
    lane.mine(70)
    await footed.registry.refresh_or_log()
    await footed.committed()
    assert await RestsStore(lane.pool).of([1]) == {}
    before = sum(lane.rpc.asked.values())
    assert await lane.submitter.grounds([]) == {}
    assert sum(lane.rpc.asked.values()) == before


async def test_a_batch_of_old_devices_rests_on_nothing(footed: Footed) -> None:
    footed.lane.chain.register(DEVICE)
    footed.lane.mine(70)
    await footed.sealed(DEVICE)
    assert await RestsStore(footed.lane.pool).of([1]) == {}
    await footed.committed()


async def test_rests_of_final_batches_are_forgotten_with_the_next(footed: Footed) -> None:
    connection = footed.lane.journal.connection
    for number in (1, 2):
        await footed.lane.want(number)
        await connection.execute(query("insert_rests"), number, bytes([1]) + bytes(20))
        await connection.execute(
            """update intent set state = 'final', sender = $1, nonce = id, transaction = $2,
                                 block_number = 1, block_hash = $2""",
            bytes(20),
            bytes(32),
        )
    assert set(await RestsStore(footed.lane.pool).of([1, 2])) == {2}


def test_what_is_packed_is_unpacked() -> None:
    rests = {DEVICE.identity.device: 1, SECURE.identity.device: 2, secp(73).identity.device: 0}
    assert unpack_rests(pack_rests(rests)) == rests
    assert unpack_rests(b"") == {}
