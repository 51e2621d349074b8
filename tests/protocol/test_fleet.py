"""Fleets: the list makes the root, and every device of it has a proof, at its place only.

given any set of ids
  ├── each proves its membership, at its position, in this fleet, of this owner and key type
  ├── the list is packed and read back
  └── it is refused when it is empty, too long, unsorted, or repeats an id
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.errors import InvalidProof, MalformedList, NotAscending
from corechain.protocol.fleet import (
    MAX_DEVICES,
    Fleet,
    device_ids,
    published_keys,
    verify_member,
)
from corechain.protocol.hashing import hash26
from corechain.protocol.keys import KeyType, P256Key
from corechain.protocol.reading import DeviceId

OWNER = b"\xaa" * 20
ids = st.binary(min_size=20, max_size=20).filter(any).map(DeviceId)
fleets = st.builds(
    Fleet.of, st.just(OWNER), st.sampled_from(KeyType), st.sets(ids, min_size=1, max_size=40)
)


def prove(fleet, device, position, proof, root=None, owner=OWNER, key_type=None):
    kind = fleet.key_type if key_type is None else key_type
    verify_member(root or fleet.root, owner, kind, device, position, proof)


@given(fleets)
def test_every_device_proves_its_membership(fleet):
    for position, device in enumerate(fleet.devices):
        assert fleet.position(device) == position
        prove(fleet, device, position, fleet.proof(position))
    assert device_ids(fleet.packed) == list(fleet.devices)


@given(fleets)
def test_a_listing_names_fleet_and_place_before_the_proof(fleet):
    for position, device in enumerate(fleet.devices):
        listing = fleet.listing(device)
        root, place, proof = listing[:26], listing[26:28], listing[28:]
        prove(fleet, device, int.from_bytes(place, "big"), proof, root=root)
        assert int.from_bytes(place, "big") == position


@given(fleets, st.data())
def test_a_proof_proves_nothing_else(fleet, data):
    position = data.draw(st.integers(0, len(fleet.devices) - 1))
    device, proof = fleet.devices[position], fleet.proof(position)
    other = data.draw(ids.filter(lambda found: found != device))
    elsewhere = data.draw(st.integers(0, 2**40).filter(lambda found: found != position))
    for wrong in (
        lambda: prove(fleet, other, position, proof),
        lambda: prove(fleet, device, elsewhere, proof),
        lambda: prove(fleet, device, position, proof[:-1]),
        lambda: prove(fleet, device, position, proof + bytes(26)),
        lambda: prove(fleet, device, position, proof, root=hash26(b"another")),
        lambda: prove(fleet, device, position, proof, owner=b"\xbb" * 20),
        lambda: prove(fleet, device, position, proof, key_type=3 - fleet.key_type),
        lambda: prove(fleet, bytes(20), position, proof),
    ):
        with pytest.raises(InvalidProof):
            wrong()


def test_the_filling_of_the_last_leaf_is_no_device():
    fleet = Fleet.of(OWNER, KeyType.P256, [DeviceId(b"\x01" * 20)])
    with pytest.raises(InvalidProof):
        prove(fleet, bytes(20), 1, b"\x01" * 20 + bytes(40))
    with pytest.raises(IndexError):
        fleet.proof(1)


@given(st.lists(ids, min_size=2, max_size=9).filter(lambda found: found != sorted(set(found))))
def test_a_list_that_does_not_ascend_is_refused(devices):
    with pytest.raises(NotAscending):
        Fleet(OWNER, KeyType.SECP256K1, devices)


def test_a_list_has_1_to_4096_ids_and_none_is_zero():
    many = [DeviceId(n.to_bytes(20, "big")) for n in range(MAX_DEVICES + 1)]
    for wrong in ([], [*many[1:], DeviceId(b"\xff" * 20)]):
        with pytest.raises(MalformedList):
            Fleet(OWNER, KeyType.P256, wrong)
    with pytest.raises(NotAscending):
        Fleet(OWNER, KeyType.P256, many[:1])
    largest = Fleet(OWNER, KeyType.P256, many[1:])
    prove(largest, many[-1], MAX_DEVICES - 1, largest.proof(MAX_DEVICES - 1))


def test_a_published_key_is_its_devices_key():
    identity = P256Key(bytes(31) + b"\x09").identity
    assert published_keys(identity.public_key) == [(identity.device, identity.public_key)]
    for wrong in (b"", bytes(63)):
        with pytest.raises(MalformedList):
            published_keys(wrong)
