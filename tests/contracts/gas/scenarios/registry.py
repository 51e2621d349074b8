"""Devices: each with its own slot, or a hundred by root. A new device is a new slot: the first
transaction of an account is measured like the hundredth."""

from typing import Any

from support.bench import START, Actor, Bench, Measured, actor
from web3 import Web3

from corechain.protocol.eip712 import (
    Domain,
    activation_digest,
    registry_domain,
    rotation_digest,
    transfer_digest,
)
from corechain.protocol.fleet import Fleet
from corechain.protocol.keys import KeyType
from corechain.protocol.reading import DeviceId

FLEET = 100
DEADLINE = START + 86_400
NO_KEY = bytes(32)


def fleet_of(owner: Actor, count: int) -> Fleet:
    ids = (DeviceId(bytes(Web3.keccak(text=f"fleet {n}"))[:20]) for n in range(count))
    return Fleet.of(owner.raw, KeyType.SECP256K1, ids)


def measure(bench: Bench) -> Measured:
    admin, owner = bench.account("admin"), bench.account("owner")
    registry = bench.deploy("DeviceRegistry", admin.address)
    bench.send(admin, registry.functions.setEnroller(owner.address, True))
    domain = registry_domain(bench.chain_id, bytes.fromhex(registry.address[2:]))
    measured = _single(bench, registry.functions, domain, owner)
    return measured | _fleet(bench, registry.functions, owner)


def _single(bench: Bench, call: Any, domain: Domain, owner: Actor) -> dict[str, int]:
    sender, buyer = bench.account("somebody"), bench.account("buyer")
    device, successor, own = (actor(name) for name in ("device", "successor", "own device"))

    def signed(digest: bytes, key: Actor = device) -> bytes:
        return key.key.sign(digest)

    activation = signed(activation_digest(domain, device.raw, owner.raw))
    relayed = call.register(device.address, owner.address, 1, NO_KEY, NO_KEY, activation)
    # The device's own transaction: its signature is the consent, and costs no ecrecover.
    measured = {
        "register_one": bench.send(bench.account("own device"), call.activate(owner.address)),
        "register_signed": bench.send(sender, relayed),
    }
    proof = signed(transfer_digest(domain, device.raw, owner.raw, buyer.raw, 0, DEADLINE))
    parts = (device.address, buyer.address, DEADLINE, NO_KEY, NO_KEY, proof)
    measured["transfer_signed"] = bench.send(owner, call.transferWithSignature(*parts, b""))
    both = transfer_digest(domain, device.raw, buyer.raw, owner.raw, 1, DEADLINE)
    parts = (device.address, owner.address, DEADLINE, NO_KEY, NO_KEY, signed(both))
    relayed = call.transferWithSignature(*parts, buyer.key.sign(both))
    measured["transfer_relayed"] = bench.send(sender, relayed)
    consent = signed(rotation_digest(domain, device.raw, successor.raw, owner.raw), successor)
    rotation = call.rotate(device.address, successor.address, 1, NO_KEY, NO_KEY, consent)
    measured["rotate"] = bench.send(owner, rotation)
    measured["revoke"] = bench.send(owner, call.revoke(own.address))
    return measured


def _fleet(bench: Bench, call: Any, owner: Actor) -> dict[str, int]:
    fleet = fleet_of(owner, FLEET)
    measured = {
        "register_hundred": bench.send(owner, call.enrolFleet(owner.address, 1, fleet.packed))
    }
    position = 41
    device = Web3.to_checksum_address(fleet.devices[position])
    proof = fleet.proof(position)
    materialisation = call.materialise(fleet.root, device, position, proof)
    measured["materialise"] = bench.send(bench.account("somebody"), materialisation)
    return measured
