"""The registry as the relayer sees it, from events alone.

given events of fleets and of single devices
  ├── a device's own slot counts before any fleet, an earlier fleet before a later one
  ├── the fleet that was materialised counts, whichever it is
  └── a secure element counts once its key is known
"""

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol import events as e
from corechain.protocol.errors import RevokedDevice, UnknownDevice
from corechain.protocol.events import Event
from corechain.protocol.keys import DeviceIdentity, KeyType
from corechain.protocol.reading import DeviceId
from corechain_relayer.registry.view import RegistryView
from relayer.support import p256, secp

DEVICE = secp(1).identity.device
SECURE = p256(2).identity
FIRST, SECOND, RIGHTFUL = b"\x01" * 20, b"\x02" * 20, b"\x03" * 20


def view_of(*happened: Event) -> RegistryView:
    view = RegistryView()
    view.apply(happened)
    return view


def enrolled(owner: bytes, device: bytes = DEVICE, key_type: int = 1) -> Event:
    return e.FleetEnrolled(owner + bytes(6), owner, key_type, bytes(19) + b"\x01" + device)


def registered(owner: bytes = RIGHTFUL) -> Event:
    return e.DeviceRegistered(DEVICE, owner, 1, bytes(32), bytes(32))


assert SECURE.public_key is not None
EVENTS = [
    enrolled(FIRST),
    enrolled(SECOND, SECURE.device, 2),
    e.KeysPublished(bytes(64) + SECURE.public_key),
    registered(),
    e.DeviceRevoked(DEVICE, 7),
    e.DeviceMaterialised(DEVICE, FIRST, 1, bytes(26)),
    e.DeviceTransferred(SECURE.device, FIRST, SECOND),
    e.DeviceRevoked(SECURE.device, 7),
]


@pytest.mark.parametrize(
    ("happened", "owner"),
    [
        ([enrolled(FIRST)], FIRST),
        ([enrolled(FIRST), enrolled(SECOND)], FIRST),
        ([enrolled(FIRST), registered()], RIGHTFUL),
        ([registered(), enrolled(FIRST)], RIGHTFUL),
        ([enrolled(FIRST), enrolled(SECOND),
          e.DeviceMaterialised(DEVICE, SECOND, 1, bytes(26))], SECOND),
        ([enrolled(FIRST), e.DeviceMaterialised(DEVICE, FIRST, 1, bytes(26)),
          e.DeviceTransferred(DEVICE, FIRST, SECOND), enrolled(RIGHTFUL)], SECOND),
    ],
)  # fmt: skip
def test_a_device_has_the_owner_that_the_chain_would_say(
    happened: list[Event], owner: bytes
) -> None:
    view = view_of(*happened)
    assert view.devices[DEVICE].owner == owner
    assert view.active(DEVICE).key_type is KeyType.SECP256K1


@pytest.mark.parametrize(
    "slot",
    [
        [enrolled(FIRST), e.DeviceMaterialised(DEVICE, FIRST, 1, bytes(26))],
        [enrolled(FIRST), registered()],
        [registered()],
    ],
)
def test_a_device_that_was_revoked_in_its_slot_comes_back_by_no_fleet(slot: list[Event]) -> None:
    view = view_of(*slot, e.DeviceRevoked(DEVICE, 7), enrolled(SECOND))
    with pytest.raises(RevokedDevice):
        view.active(DEVICE)
    assert view.identity(DEVICE).device == DEVICE


@given(st.permutations(EVENTS), st.integers(0, 8))
def test_those_that_may_send_are_those_that_are_active(happened: list[Event], count: int) -> None:
    view = RegistryView()
    for event in happened[:count]:
        try:
            view.apply([event])
        except KeyError:
            return  # of a device that is not there: no chain says so
    for device in (DEVICE, SECURE.device):
        try:
            active: DeviceIdentity | None = view.active(device)
        except (RevokedDevice, UnknownDevice):
            active = None
        try:
            known: DeviceIdentity | None = view.identity(device)
        except UnknownDevice:
            known = None
        for one in (view, deepcopy(view)):
            assert one.senders.get(device) == active
            assert one.identities.get(device) == known


def test_a_secure_element_counts_once_its_key_is_known() -> None:
    fleet = enrolled(FIRST, SECURE.device, 2)
    assert SECURE.public_key is not None
    keys = e.KeysPublished(bytes(64) + SECURE.public_key)
    for silent in (view_of(fleet), view_of(keys, fleet)):
        assert silent.unknown([SECURE.device])
        with pytest.raises(UnknownDevice):
            silent.active(SECURE.device)
    known = view_of(fleet, keys, e.DeviceMaterialised(SECURE.device, FIRST, 2, bytes(26)))
    assert known.active(SECURE.device) == SECURE
    assert not known.unknown([SECURE.device])
    assert set(known.devices) == {SECURE.device, DeviceId(bytes(19) + b"\x01")}
