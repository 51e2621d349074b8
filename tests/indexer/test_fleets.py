"""Devices of fleets in the index: the owner is the one whom the chain and the relayer see.

given an enrolled fleet
  ├── its devices are listed with its owner, and their batches are verified
  ├── a secure element of it needs no published key here: the data file has it
  ├── of several claims to a device the same counts as in the relayer's view, at every block
  └── a fork takes it away
"""

from collections.abc import Sequence

import pytest

from corechain.account import account_from_key
from corechain.devnet.settings import ADMIN_KEY
from corechain.protocol.eip712 import activation_digest, registry_domain
from corechain.protocol.fleet import Fleet
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import DeviceKey, KeyType, P256Key, Secp256k1Key
from corechain.protocol.logs import decode_log
from corechain_indexer.store import SQL
from corechain_relayer.registry.view import RegistryView
from indexer.support import Driven, World, get

OWNERS = tuple(bytes([n]) * 20 for n in (1, 2, 3))


def keys(count: int) -> list[DeviceKey]:
    return [Secp256k1Key(keccak(b"fleet %d" % n)) for n in range(count)]


def fleet_of(owner: bytes, members: Sequence[DeviceKey], key_type: int = 1) -> Fleet:
    return Fleet.of(owner, KeyType(key_type), [key.identity.device for key in members])


@pytest.mark.parametrize("key", [Secp256k1Key(bytes(31) + b"\x61"), P256Key(bytes(31) + b"\x62")])
async def test_a_batch_of_a_fleets_device_is_verified(
    world: World, indexer: Driven, key: DeviceKey
) -> None:
    world.keys.append(key)
    world.add()
    await indexer.settle()
    states = await indexer.indexer.pool.fetch("select state from batch_file")
    assert [row["state"] for row in states] == ["mismatch"]
    world.enrol(fleet_of(OWNERS[0], [*keys(9), key], key.identity.key_type))
    world.add()
    await indexer.settle()
    states = await indexer.indexer.pool.fetch("select state from batch_file order by batch_id")
    assert [row["state"] for row in states] == ["mismatch", "verified"]
    async with indexer.api() as api:
        found = await get(api, "/v1/devices/0x" + key.identity.device.hex())
        listed = await get(api, "/v1/devices", limit=100)
    assert found["owner"] == "0x" + OWNERS[0].hex()
    assert found["key_type"] == key.identity.key_type
    assert (found["revoked"], found["revoked_at"]) == (False, None)
    assert len(listed["items"]) == len(world.keys) + 9


async def owners(indexer: Driven, block: int) -> dict[bytes, bytes]:
    rows = await indexer.indexer.pool.fetch(SQL["owners_at"], block)
    return {row["device"]: row["owner"] for row in rows}


async def folded(indexer: Driven, block: int) -> dict[bytes, bytes]:
    """What the relayer makes of the same logs."""
    query = (
        "select topics, data from event where block_number <= $1 order by block_number, log_index"
    )
    view = RegistryView()
    for row in await indexer.indexer.pool.fetch(query, block):
        topics = [row["topics"][i : i + 32] for i in range(0, len(row["topics"]), 32)]
        event = decode_log(topics, row["data"])
        view.apply([] if event is None else [event])
    return {device: known.owner for device, known in view.devices.items()}


def claim_in_turn(world: World, members: list[DeviceKey]) -> None:
    """Everything that may happen to a device of fleets, one transaction a block."""
    admin, chain = account_from_key(ADMIN_KEY), world.chain
    first, second = fleet_of(OWNERS[0], members[:4]), fleet_of(OWNERS[1], members)
    world.enrol(first)
    world.enrol(second)
    chain.materialise(admin, second, members[0].identity.device)
    owner, key = bytes.fromhex(admin.address[2:]), members[1]
    domain = registry_domain(chain.deployment.chain_id, world.registry)
    digest = activation_digest(domain, key.identity.device, owner)
    chain.register_device(admin, key.identity, owner, key.sign(digest))
    own = fleet_of(owner, [members[5], *world.keys[:1]])
    world.enrol(own)
    chain.materialise(admin, own, members[5].identity.device)  # the later of its two fleets
    chain.send(admin, "DeviceRegistry", "transfer", key.identity.device, "0x" + "09" * 20)
    chain.send(admin, "DeviceRegistry", "revoke", world.keys[0].identity.device)


async def test_every_claim_counts_as_in_the_relayers_view_at_every_block(
    world: World, indexer: Driven
) -> None:
    members = sorted(keys(6), key=lambda key: key.identity.device)
    start = int(world.rpc("eth_blockNumber"), 16)
    claim_in_turn(world, members)
    await indexer.settle()
    head = int(world.rpc("eth_blockNumber"), 16)
    for block in range(start, head + 1):
        assert await owners(indexer, block) == await folded(indexer, block), block
    rows = await indexer.indexer.pool.fetch("select device, owner, revoked, revoked_at from device")
    assert {row["device"]: row["owner"] for row in rows} == await folded(indexer, head)
    assert len(rows) == len({row["device"] for row in rows})
    (ended,) = [row for row in rows if row["revoked"]]
    assert ended["device"] == world.keys[0].identity.device
    block = world.rpc("eth_getBlockByNumber", hex(head), False)
    assert ended["revoked_at"] == int(block["timestamp"], 16)


async def test_a_fork_takes_a_fleet_away(world: World, indexer: Driven) -> None:
    world.add()
    await indexer.settle()
    kept, snapshot = await indexer.tables(), world.rpc("evm_snapshot")
    world.enrol(fleet_of(OWNERS[0], keys(5)))
    await indexer.settle()
    assert len((await indexer.tables())["fleet_device"]) == 5
    world.rpc("evm_revert", snapshot)
    world.pass_time(7)
    await indexer.settle()
    assert await indexer.tables() == kept
