"""Devices and fleets of several owners, in any order, against a model.

given seven devices, owners, enrollers who may list whom they like, one of them a stranger's device
  when anybody does anything, with signatures of others, of an old owner, or over another text
    it does what the model does, or is refused by the name and the values that the model says
    a device gets one slot in its life, and what is revoked stays revoked
    consent to a transfer is good once
  when everybody leaves
    a device that has no slot gets in by its own word, whoever has enrolled it
"""

from collections.abc import Callable
from functools import cache

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from registry_model import NOBODY, SECP256K1, SECURE, Device, Fleet, RegistryModel
from support.bench import actor
from support.evm import CHAIN_ID
from support.oracle import OracleMachine, run_machine

from corechain.protocol.eip712 import (
    activation_digest,
    registry_domain,
    report_digest,
    rotation_digest,
    transfer_digest,
)
from corechain.protocol.fleet import Fleet as PackedFleet
from corechain.protocol.keys import KeyType, P256Key
from corechain.protocol.reading import Observation, Report

OWNERS, ADMINS = ("owner", "buyer", "installer"), ("admin", "successor")
KEYED = tuple(f"device {n}" for n in range(1, 7))
ELEMENT = P256Key(bytes(31) + b"\x05")
ELEMENTS = {"secure element": ELEMENT, "another element": P256Key(bytes(31) + b"\x06")}
DEVICES = (*KEYED, SECURE)
ENROLLER, STRANGER = "enroller", "stranger"
EVERYBODY = (*OWNERS, *ADMINS, ENROLLER, STRANGER)
ZERO32 = bytes(32)

PEOPLE, OWNER = st.sampled_from(EVERYBODY), st.sampled_from([*OWNERS * 3, NOBODY])
DEVICE, KEY = st.sampled_from(DEVICES), st.sampled_from(KEYED)
USUALLY = st.sampled_from([True] * 5 + [False])
HANDS = st.sampled_from(["own"] * 5 + ["stranger"])
X, Y = ELEMENT.identity.public_key[:32], ELEMENT.identity.public_key[32:]


@cache
def _id_of(device: str) -> bytes:
    return ELEMENT.identity.device if device == SECURE else actor(device).raw


ORDER = sorted(DEVICES, key=_id_of)


def _hand(device: str, own: bool) -> str:
    """The device's key or a stranger's, on its curve: on the other it is nobody's."""
    if device == SECURE:
        return "secure element" if own else "another element"
    return device if own else STRANGER


class RegistryMachine(OracleMachine):
    model: RegistryModel

    def __init__(self) -> None:
        super().__init__()
        self.cast(*EVERYBODY, *KEYED)
        self.addresses |= {SECURE: _id_of(SECURE), NOBODY: bytes(20)}
        self.contract = self.deploy("registry", "DeviceRegistry", self.addresses["admin"])
        self.domain = registry_domain(CHAIN_ID, self.contract.address)
        self.model = RegistryModel("admin", self.evm.now, ORDER)
        self.first: dict[str, tuple[int, int]] = {}
        """Of each device key type and second of its slot, as they were first seen."""
        self.ended: dict[str, int] = {}
        """Of each device that was revoked, when."""

    # -------------------------------------------------------------------------------------- helpers

    def _send(self, sender: str, function: str, *arguments: object) -> Callable[[], object]:
        return lambda: self.contract.send(self.addresses[sender], function, *arguments) and None

    def _sign(self, hand: str, digest: bytes) -> bytes:
        return (ELEMENTS.get(hand) or actor(hand).key).sign(digest)

    def _root(self, fleet: Fleet) -> bytes:
        owner, ids = self.addresses[fleet.owner], [_id_of(device) for device in fleet.devices]
        root = PackedFleet(owner, KeyType(fleet.key_type), ids).root
        self.addresses[fleet.name] = bytes(root)
        return bytes(root)

    def _owner_of(self, device: str) -> str:
        found = self.model.devices.get(device)
        return found.owner if found else STRANGER

    # ---------------------------------------------------------------------------------------- rules

    @initialize(devices=st.sets(KEY, min_size=2, max_size=4))
    def some_devices_are_there_and_an_enroller(self, devices: set[str]) -> None:
        self.somebody_names_an_enroller("admin", ENROLLER, True)
        for device in sorted(devices):
            self.a_device_activates_itself(device, "owner")
        rest = tuple(device for device in ORDER if device not in devices)
        self._enrol(ENROLLER, Fleet("installer", SECP256K1, rest))

    @rule(
        device=DEVICE,
        owner=OWNER,
        sender=PEOPLE,
        hand=HANDS,
        key_type=st.sampled_from([1] * 6 + [2, 2, 0, 3]),
    )
    def somebody_registers_a_device(self, device, owner, sender, hand, key_type) -> None:
        hand = _hand(device, hand == "own")
        signature = self._sign(
            hand, activation_digest(self.domain, _id_of(device), self.addresses[owner])
        )
        words = _id_of(device), self.addresses[owner], key_type, X, Y, signature
        send = self._send(sender, "register", *words)
        self.both(lambda model: model.register(device, owner, key_type, hand), send)

    @rule(device=KEY, owner=OWNER)
    def a_device_activates_itself(self, device: str, owner: str) -> None:
        send = self._send(device, "activate", self.addresses[owner])
        self.both(lambda model: model.activate(device, owner), send)

    @rule(
        old=DEVICE, new=KEY, sender=PEOPLE, honest=USUALLY, text=st.sampled_from([0] * 5 + [1, 2])
    )
    def an_owner_rotates_a_key(self, old, new, sender, honest, text) -> None:
        """The new device may have signed an activation instead, or a stranger the rotation."""
        sender = self._owner_of(old) if honest else sender
        who = self.addresses[sender]
        right = rotation_digest(self.domain, _id_of(old), _id_of(new), who)
        digests = right, activation_digest(self.domain, _id_of(new), who), right
        signature = self._sign(STRANGER if text == 2 else new, digests[text])
        words = _id_of(old), _id_of(new), SECP256K1, X, Y, signature
        send = self._send(sender, "rotate", *words)
        self.both(lambda model: model.rotate(sender, old, new, NOBODY if text else new), send)

    @rule(device=DEVICE, to=OWNER, sender=PEOPLE, honest=USUALLY)
    def an_owner_gives_a_device_away(self, device, to, sender, honest) -> None:
        sender = self._owner_of(device) if honest else sender
        send = self._send(sender, "transfer", _id_of(device), self.addresses[to])
        self.both(lambda model: model.transfer(sender, device, to), send)

    @rule(
        device=DEVICE,
        to=OWNER,
        sender=PEOPLE,
        hands=st.tuples(HANDS, HANDS),
        seconds=st.sampled_from([0, 0, 5, -1]),
        off=st.sampled_from([0] * 5 + [1]),
        again=st.booleans(),
    )
    def a_device_is_sold(self, device, to, sender, hands, seconds, off, again) -> None:
        found = self.model.devices.get(device, Device(STRANGER, SECP256K1, 0))
        deadline, nonce = self.evm.now + seconds, found.transfers + off
        device_own, owner_own = (hand == "own" for hand in hands)
        signers = _hand(device, device_own), found.owner if owner_own else ENROLLER
        digest = transfer_digest(
            self.domain,
            _id_of(device),
            self.addresses[found.owner],
            self.addresses[to],
            nonce,
            deadline,
        )
        signatures = [self._sign(signer, digest) for signer in signers]
        words = _id_of(device), self.addresses[to], deadline, X, Y, *signatures
        send = self._send(sender, "transferWithSignature", *words)
        for _ in range(1 + again):
            self.both(
                lambda model: model.transfer_signed(sender, device, to, deadline, nonce, signers),
                send,
            )

    @rule(device=DEVICE, sender=PEOPLE, honest=USUALLY)
    def an_owner_revokes_a_device(self, device: str, sender: str, honest: bool) -> None:
        sender = self._owner_of(device) if honest else sender
        send = self._send(sender, "revoke", _id_of(device))
        self.both(lambda model: model.revoke(sender, device), send)

    @rule(device=DEVICE, hand=HANDS, sequence=st.integers(0, 2**64 - 1))
    def a_report_is_verified(self, device: str, hand: str, sequence: int) -> None:
        report = Report.of(_id_of(device), sequence, [Observation(1, 1, 1, 1)])
        hand = _hand(device, hand == "own")
        signature = self._sign(hand, report_digest(self.domain, report))
        words = _id_of(device), sequence, report.packed, signature, X, Y
        self.both(
            lambda model: model.report(device, hand), self._send(STRANGER, "verifyReport", *words)
        )

    # --------------------------------------------------------------------------------------- fleets

    @rule(
        devices=st.lists(DEVICE, max_size=6),
        ascending=USUALLY,
        owner=OWNER,
        honest=USUALLY,
        sender=PEOPLE,
        key_type=st.sampled_from([1] * 6 + [2, 2, 0, 3]),
    )
    def somebody_enrols_a_fleet(self, devices, ascending, owner, honest, sender, key_type) -> None:
        sender = ENROLLER if honest else sender
        devices = sorted(set(devices), key=ORDER.index) if ascending else devices
        self._enrol(sender, Fleet(owner, key_type, tuple(devices)))

    def _enrol(self, sender: str, fleet: Fleet) -> None:
        if fleet in self.model.fleets:
            self._root(fleet)
        words = self.addresses[fleet.owner], fleet.key_type, b"".join(map(_id_of, fleet.devices))
        send = self._send(sender, "enrolFleet", *words)
        self.both(lambda model: model.enrol(sender, fleet), send)

    @rule(
        pick=st.integers(0, 20), device=DEVICE, listed=USUALLY, off=st.sampled_from([0] * 5 + [1])
    )
    def somebody_materialises_a_device(self, pick, device, listed, off) -> None:
        fleets = [*self.model.fleets, Fleet("owner", SECP256K1, tuple(ORDER))]
        fleet = fleets[pick % len(fleets)]
        named = fleet.devices[pick % len(fleet.devices)] if listed else device
        ids = [_id_of(item) for item in fleet.devices]
        packed = PackedFleet(self.addresses[fleet.owner], KeyType(fleet.key_type), ids)
        position = fleet.devices.index(named) if named in fleet.devices else 0
        proof = packed.proof(position)
        words = self._root(fleet), _id_of(named), position + off, proof
        send = self._send(STRANGER, "materialise", *words)
        proven = named in fleet.devices and not off
        self.both(lambda model: model.materialise(fleet, named, proven), send)

    # ---------------------------------------------------------------------------------------- roles

    @rule(
        sender=st.sampled_from([*ADMINS, STRANGER]),
        who=st.sampled_from([ENROLLER, STRANGER]),
        allowed=USUALLY,
    )
    def somebody_names_an_enroller(self, sender: str, who: str, allowed: bool) -> None:
        send = self._send(sender, "setEnroller", self.addresses[who], allowed)
        self.both(lambda model: model.set_enroller(sender, who, allowed), send)

    @rule(sender=st.sampled_from([*ADMINS, STRANGER]), candidate=st.sampled_from([*ADMINS, NOBODY]))
    def somebody_offers_the_admins_role(self, sender: str, candidate: str) -> None:
        send = self._send(sender, "offerAdmin", self.addresses[candidate])
        self.both(lambda model: model.offer_admin(sender, candidate), send)

    @rule(sender=st.sampled_from([*ADMINS, STRANGER]))
    def somebody_accepts_the_admins_role(self, sender: str) -> None:
        self.both(lambda model: model.accept_admin(sender), self._send(sender, "acceptAdmin"))

    @rule(seconds=st.sampled_from([1, 5, 86_400]))
    def time_passes(self, seconds: int) -> None:
        self.time_passes_by(seconds)

    # ----------------------------------------------------------------------------------- invariants

    @invariant()
    def the_contract_holds_what_the_model_says(self) -> None:
        for device in DEVICES:
            found = self.model.devices.get(device, Device(NOBODY, 0, 0))
            owner = int.from_bytes(self.addresses[found.owner])
            words = owner, found.key_type, found.registered_at, found.revoked_at
            assert self.contract.words("deviceOf", _id_of(device)) == words
            assert self.contract.words("transferNonceOf", _id_of(device)) == (found.transfers,)
        for who in EVERYBODY:
            allowed = who in self.model.enrollers
            assert self.contract.words("isEnroller", self.addresses[who]) == (allowed,)
        assert self.contract.words("admin") == (int.from_bytes(self.addresses[self.model.admin]),)

    @invariant()
    def a_fleet_stands_as_it_was_enrolled(self) -> None:
        for fleet, at in self.model.fleets.items():
            words = int.from_bytes(self.addresses[fleet.owner]), at, fleet.key_type
            assert self.contract.words("fleetOf", self._root(fleet)) == words

    @invariant()
    def a_device_gets_one_slot_and_one_end(self) -> None:
        for device in DEVICES:
            owner, key_type, at, revoked_at = self.contract.words("deviceOf", _id_of(device))
            if owner:
                assert self.first.setdefault(device, (key_type, at)) == (key_type, at)
            if revoked_at or device in self.ended:
                assert self.ended.setdefault(device, revoked_at) == revoked_at

    # ------------------------------------------------------------------------------------- the exit

    def everyone_leaves(self) -> None:
        """Every device that still has no slot gets one by its own word."""
        for device in KEYED:
            free = device not in self.model.devices
            self.a_device_activates_itself(device, "buyer")
            assert not free or self._owner_of(device) == "buyer"
        self.the_contract_holds_what_the_model_says()


def test_the_registry_does_what_its_model_says() -> None:
    run_machine(RegistryMachine)
