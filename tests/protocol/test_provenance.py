"""The mark of bridges, wherever a device id is."""

from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.provenance import BRIDGE_MARK, Provenance, provenance_of
from corechain.protocol.reading import DeviceId, Reading


@given(st.binary(min_size=20, max_size=20))
def test_an_id_is_a_bridges_if_and_only_if_it_begins_with_the_mark(device):
    expected = Provenance.BRIDGE if device[:2] == b"\xb5\x1d" else Provenance.DEVICE
    assert provenance_of(device) is expected
    assert provenance_of(BRIDGE_MARK + device[2:]) is Provenance.BRIDGE


def test_a_reading_says_whose_word_it_is_also_after_it_was_packed():
    bridge, own = DeviceId(b"\xb5\x1d" + bytes(18)), DeviceId(b"\xb5\x1e" + bytes(18))
    found = [Reading.unpack(Reading(1, 7, one, 5, 6).pack()).provenance for one in (bridge, own)]
    assert found == ["bridge", "device"]
