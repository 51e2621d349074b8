"""Given a device and a number of lanes, when it is asked for, its lane is always the same one."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.hashing import keccak
from corechain.protocol.lanes import lane_of_device
from corechain.protocol.reading import DeviceId

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "lanes.json").read_text())
DEVICES = st.binary(min_size=20, max_size=20).map(DeviceId)
LANES = st.integers(1, 1024)


@pytest.mark.parametrize("vector", VECTORS["lanes"], ids=lambda v: f"{v['device']}/{v['lanes']}")
def test_the_lane_is_the_golden_one(vector: dict[str, object]) -> None:
    device = DeviceId(bytes.fromhex(str(vector["device"])[2:]))
    assert lane_of_device(device, int(str(vector["lanes"]))) == vector["lane"]


@given(DEVICES, LANES)
def test_a_lane_is_one_of_them(device: DeviceId, lanes: int) -> None:
    assert 0 <= lane_of_device(device, lanes) < lanes


@given(DEVICES, LANES)
def test_twice_the_lanes_split_each_in_two(device: DeviceId, lanes: int) -> None:
    assert lane_of_device(device, 2 * lanes) // 2 == lane_of_device(device, lanes)


def test_lanes_get_equal_shares_even_of_ids_that_begin_alike() -> None:
    devices = [DeviceId(bytes(6) + keccak(b"%d" % n)[:14]) for n in range(4000)]
    shares = Counter(lane_of_device(device, 4) for device in devices)
    # A share of 1,000 has a standard deviation of 27: this is five of them.
    assert all(865 <= share <= 1135 for share in shares.values())
